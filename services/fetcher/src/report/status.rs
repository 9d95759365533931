//! `status`: the objects of the ledger, in the table of the summary.

use std::process::ExitCode;

use anyhow::Context;
use jetline_runtime::output;
use jetline_store::{
    Catalog, ObjectState as State,
    catalog::objects::{Filter, ObjectStatus},
};

use super::{json::Object, page, rejects, summary::ADVICE, table::Table};
use crate::error::unknown_object;

/// Which objects to show.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusSettings {
    /// Only the object with this number
    #[arg(long, value_name = "NUMBER")]
    pub object: Option<u32>,
}

/// Prints the objects, page by page. It is a failure if one of them has failed and is not dismissed.
pub(crate) async fn status(args: &StatusSettings, catalog: &Catalog) -> anyhow::Result<ExitCode> {
    let mut status = Status { catalog, table: Table::default(), shown: 0, has_failed: false };
    if let Some(number) = args.object {
        let object = catalog.object(number.into()).await?;
        status.print(&[object.with_context(|| unknown_object(number))?]).await?;
    } else {
        let mut after = Some(0);
        while let Some(page) = page(catalog, &Filter::default(), &mut after).await? {
            status.print(&page).await?;
        }
        status.print_totals()?;
    }
    if !status.has_failed {
        return Ok(ExitCode::SUCCESS);
    }
    output::print_note(ADVICE)?;
    Ok(ExitCode::FAILURE)
}

/// The objects that were printed so far.
struct Status<'a> {
    catalog: &'a Catalog,
    table: Table,
    shown: usize,
    has_failed: bool,
}

impl Status<'_> {
    async fn print(&mut self, objects: &[ObjectStatus]) -> anyhow::Result<()> {
        let rejects = rejects(self.catalog, objects).await?;
        self.table.add(objects);
        if self.shown == 0 && !objects.is_empty() {
            output::print_note(self.table.heading())?;
        }
        for object in objects {
            let rejects = rejects.get(&object.id);
            if output::is_json() {
                output::print_json(&Object::new(object, rejects))?;
            } else {
                output::print(self.table.row(object, rejects))?;
            }
            self.has_failed |= object.state == State::Failed && !object.dismissed;
        }
        self.shown += objects.len();
        Ok(())
    }

    fn print_totals(&self) -> anyhow::Result<()> {
        match self.shown {
            0 => output::print_note("The ledger has no objects."),
            _ => output::print_note(self.table.totals()),
        }
    }
}
