//! The receiver of deliveries of a run: each call is a step of the courier that makes it. At the end it must know every record
//! as the table has it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jetline_store::{Catalog, Database, catalog::pages::Filter};
use jetline_testkit::crm::{Act, Behaviour, CallHook, CrmServer};
use serde_json::Value;

use super::{ports::Breaker, step::Step, verdict::Verdict};

/// Maximum number of records of a page.
const PAGE: u64 = 1_000;

/// The receiver, and the couriers that call it.
pub(crate) struct Receiver {
    crm: CrmServer,
    callers: Arc<Callers>,
}

/// The couriers by the number in the path of their URL.
#[derive(Default)]
struct Callers(Mutex<HashMap<usize, Breaker>>);

impl Receiver {
    /// Starts one that fails at random.
    pub(crate) fn start(seed: u64) -> anyhow::Result<Self> {
        let callers = Arc::new(Callers::default());
        let behaviour =
            Behaviour { failed_percent: 5, lost_percent: 5, seed, ..Behaviour::default() };
        let crm = CrmServer::start_with_hook(behaviour, callers.clone())?;
        Ok(Self { crm, callers })
    }

    /// The URL for an instance, whose calls it makes steps of.
    pub(crate) fn url(&self, caller: &Breaker) -> String {
        let mut callers = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        callers.insert(caller.instance.0, caller.clone());
        format!("http://{}/{}", self.crm.address(), caller.instance.0)
    }

    /// Compares what it knows with the table of each dataset.
    pub(crate) async fn compare(&self, url: &str, verdict: &mut Verdict) -> anyhow::Result<()> {
        for violation in self.crm.violations() {
            verdict.wrong(format!("the receiver: {violation}"));
        }
        let database = Database::connect(url, 1).await?;
        let catalog = Catalog::new(&database);
        for dataset in database.datasets().await?.iter() {
            let mut known: BTreeMap<String, Value> = BTreeMap::new();
            for (key, effect) in self.crm.records(&dataset.name) {
                if !effect.kind.ends_with(".deleted") {
                    known.insert(key, effect.data);
                }
            }
            let mut filter = Filter::default();
            loop {
                let page = catalog.records_page(dataset, &filter, PAGE, usize::MAX >> 1).await?;
                for record in &page.records {
                    let mut json = Vec::new();
                    dataset.write_json(&record.values, record.extra.as_deref(), &mut json)?;
                    let stored: Value = serde_json::from_slice(&json)?;
                    let received = known.remove(&record.key.to_string());
                    // A column that another declaration adds is null in the rows that are there.
                    let is_same =
                        |received: &Value| without_nulls(received) == without_nulls(&stored);
                    if !received.as_ref().is_some_and(is_same) {
                        verdict.wrong(format!(
                            "the receiver has {received:?} of {} instead of {stored}",
                            dataset.name
                        ));
                    }
                }
                let Some(last) = page.records.last().filter(|_| page.has_more) else {
                    break;
                };
                filter.after = Some(last.key.clone());
            }
            for (key, received) in known {
                let name = &dataset.name;
                verdict
                    .wrong(format!("the receiver has {key} of {name}, the table not: {received}"));
            }
        }
        database.connection().close_by_ref().await?;
        Ok(())
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        other => other.clone(),
    }
}

#[async_trait]
impl CallHook for Callers {
    async fn call(&self, path: &str, act: &Act<'_>) -> bool {
        let caller = {
            let callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let number = path.trim_start_matches('/').parse().ok();
            number.and_then(|number: usize| callers.get(&number).cloned())
        };
        let Some(caller) = caller else {
            return false;
        };
        let call = || async {
            act();
            Ok(())
        };
        caller.take(Step::Send, || (), call).await.is_ok()
    }
}
