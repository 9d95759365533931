//! Metrics of requests: caches the handles of a time series for each kind of request.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use jetline_runtime::metrics::{API_REQUESTS, API_SECONDS};
use metrics::{Counter, Histogram, counter, histogram};

/// The handles by kind. There are few: methods, routes and statuses are limited.
#[derive(Default)]
pub(crate) struct Series(RwLock<HashMap<Kind, Handles>>);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) method: &'static str,
    pub(crate) route: Cow<'static, str>,
    pub(crate) status: u16,
}

struct Handles {
    answered: Counter,
    seconds: Histogram,
}

impl Series {
    /// Counts a request.
    pub(crate) fn count(&self, kind: &Kind, seconds: f64) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = known.get(kind) {
            return handles.count(seconds);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let handles = known.entry(kind.clone());
        handles.or_insert_with(|| Handles::of(kind)).count(seconds);
    }
}

impl Handles {
    fn of(kind: &Kind) -> Self {
        let route = kind.route.to_string();
        let labels = [
            ("method", kind.method.to_owned()),
            ("route", route.clone()),
            ("status", kind.status.to_string()),
        ];
        Self {
            answered: counter!(API_REQUESTS, &labels),
            seconds: histogram!(API_SECONDS, "route" => route),
        }
    }

    fn count(&self, seconds: f64) {
        self.seconds.record(seconds);
        self.answered.increment(1);
    }
}
