//! Output to the terminal.

use std::net::SocketAddr;

use jetline_api::path_segment;
use jetline_fetcher::Report;
use jetline_runtime::output;
use jetline_store::{Catalog, Database};

/// Prints the summary.
pub(crate) fn print_report(report: &Report, interrupted: bool) -> anyhow::Result<()> {
    output::print_result(report)?;
    if interrupted {
        output::print_note("Interrupted: start again to resume.")?;
    }
    Ok(())
}

/// Prints the URLs of the API. An error is only logged: serving continues.
pub(crate) async fn print_urls(address: SocketAddr, database: &Database) {
    let example = async {
        let datasets = database.datasets().await.ok()?;
        Catalog::new(database).any_record(&datasets).await.ok().flatten()
    };
    let example = example.await;
    let record = example.map_or_else(String::new, |(dataset, key)| {
        let key = path_segment(&key.to_string());
        format!("  curl http://{address}/{}/{key}\n", dataset.name)
    });
    warn(output::print_note(format!(
        "\nServing http://{address} until Ctrl-C. Try:\n{record}  \
         curl http://{address}/objects\n  \
         curl http://{address}/rejects\n  \
         http://{address}/ in a browser"
    )));
}

/// Logs a failure to print.
pub(crate) fn warn(printed: anyhow::Result<()>) {
    if let Err(error) = printed {
        tracing::warn!(error = jetline_runtime::causes(&*error), "write output failed");
    }
}
