//! `dismiss`: a failed object, or one whose read is refused, no longer counts and is not waited for.

use anyhow::{Context, bail};
use jetline_core::{EpochId, ObjectId};
use jetline_store::{ObjectLedger, objects::Dismissal};
use rand::{SeedableRng, rngs::StdRng};

use crate::error::unknown_object;

/// The object to dismiss.
#[derive(Clone, Debug, clap::Args)]
pub struct DismissSettings {
    /// The object with this number, as `status` shows it
    #[arg(value_name = "OBJECT")]
    pub object: u32,
}

/// Dismisses a failed object, or an open one whose read is refused: it fails once everything before it is settled.
/// Returns what was done. `seed` generates the id of an epoch.
pub async fn dismiss(
    args: &DismissSettings,
    ledger: &ObjectLedger,
    seed: u64,
) -> anyhow::Result<String> {
    let object = args.object;
    let unknown = || unknown_object(object);
    let id = ObjectId::new(object.into()).with_context(unknown)?;
    let next = EpochId::random(&mut StdRng::seed_from_u64(seed));
    match ledger.dismiss(id, next).await? {
        Dismissal::Dismissed => Ok(format!(
            "Object {object} is dismissed: it has failed, and runs do not count it any more. A replay reads it again."
        )),
        Dismissal::Ending => Ok(format!(
            "Object {object} is dismissed: it will fail in the next run, or with a fetcher that watches, as soon as \
             everything before it is settled."
        )),
        Dismissal::Unknown => bail!(unknown()),
        Dismissal::Done => bail!("object {object} is done: there is nothing to dismiss"),
        Dismissal::Open => bail!(
            "object {object} is open and nothing says that it cannot be read: run the fetcher, and dismiss it when it \
             failed or was refused"
        ),
    }
}
