//! The endpoints of all datasets in the registry, as one API.

use std::{collections::HashMap, time::Duration};

use jetline_records::{Record, registry};
use jetline_runtime::Shutdown;
use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    OpenApi,
    registry::{MetaApi, Registry},
};

use crate::{
    database::ReadPool,
    http::response_budget::ResponseBudget,
    records::{endpoints::RecordApi, loader::RecordCache},
};

/// Routes by path and method, as poem-openapi collects them.
type Routes = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// Serves every dataset at a path of its name.
pub(crate) struct Datasets {
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
    /// The time for which records are cached, and the memory of the cache of each dataset.
    pub(crate) cache: (Duration, usize),
    pub(crate) shutdown: Shutdown,
}

impl OpenApi for Datasets {
    fn meta() -> Vec<MetaApi> {
        let mut described = Described(Vec::new());
        registry::register(&mut described);
        described.0
    }

    fn register(types: &mut Registry) {
        registry::register(&mut Typed(types));
    }

    fn add_routes(self, routes: &mut Routes) {
        let datasets = self;
        registry::register(&mut Routed { datasets, routes });
    }
}

struct Described(Vec<MetaApi>);

impl registry::DatasetVisitor for Described {
    fn visit<R: Record>(&mut self) {
        let mut apis = RecordApi::<R>::meta();
        let operations =
            apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations);
        for operation in operations {
            operation.tags.push(R::NAME);
            // An operation's id must be unique and 'static. The document is generated a few times per process.
            let verb = operation.operation_id.unwrap_or_default();
            operation.operation_id = Some(format!("{verb}_{}", R::NAME).leak());
        }
        self.0.append(&mut apis);
    }
}

struct Typed<'a>(&'a mut Registry);

impl registry::DatasetVisitor for Typed<'_> {
    fn visit<R: Record>(&mut self) {
        <RecordApi<R> as OpenApi>::register(self.0);
    }
}

struct Routed<'a> {
    datasets: Datasets,
    routes: &'a mut Routes,
}

impl registry::DatasetVisitor for Routed<'_> {
    fn visit<R: Record>(&mut self) {
        let Datasets { pool, budget, cache: (time, bytes), shutdown } = &self.datasets;
        let record_cache = RecordCache::new(*time, *bytes);
        RecordApi::<R>::new(pool.clone(), budget.clone(), record_cache, shutdown)
            .add_routes(self.routes);
    }
}
