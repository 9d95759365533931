//! What a person at the terminal reads.

use std::net::SocketAddr;

use jetline_fetcher::Report;
use jetline_records::products;
use jetline_runtime::output;
use sea_orm::{DatabaseConnection, EntityTrait};

/// Prints the summary.
pub(crate) fn tell(report: &Report, interrupted: bool) -> anyhow::Result<()> {
    output::print(report)?;
    if interrupted {
        output::print("Interrupted: start again to go on where it was.")?;
    }
    Ok(())
}

/// Prints where to ask for what is loaded. Whoever serves goes on where nobody can read it.
pub(crate) async fn tell_urls(address: SocketAddr, db: &DatabaseConnection) {
    let product = match products::Entity::find().one(db).await {
        Ok(Some(product)) => format!("  curl http://{address}/products/{}\n", product.id),
        _ => String::new(),
    };
    warn(output::print(format!(
        "\nServing http://{address} until Ctrl-C. Try:\n{product}  \
         curl http://{address}/objects\n  \
         curl http://{address}/rejects\n  \
         http://{address}/docs in a browser"
    )));
}

/// Logs what could not be printed.
pub(crate) fn warn(printed: anyhow::Result<()>) {
    if let Err(error) = printed {
        tracing::warn!(error = &*error as &dyn std::error::Error, "output is lost");
    }
}
