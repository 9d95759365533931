//! A value from the database that requests read again when it is old.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use crate::database::Error;

/// Nobody gets a value that is older than this many times its age, without waiting for the one who reads it.
const MAX_WAIT_FACTOR: u32 = 2;

/// A value with the time at which it was read.
pub(crate) struct Refreshed<T> {
    state: RwLock<State<T>>,
    reading: Mutex<()>,
}

struct State<T> {
    value: Arc<T>,
    read_at: Option<Instant>,
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), read_at: self.read_at }
    }
}

impl<T> State<T> {
    fn is_older_than(&self, age: Duration) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= age)
    }
}

impl<T: Default> Default for Refreshed<T> {
    fn default() -> Self {
        let state = State { value: Arc::default(), read_at: None };
        Self { state: RwLock::new(state), reading: Mutex::default() }
    }
}

impl<T> Refreshed<T> {
    /// The value, read again if it is older. One request does that, and the others do not wait for it, unless the value is much
    /// older, as after a time without requests. What was read before is kept while the database is not available.
    ///
    /// `read` gets the value of before.
    pub(crate) async fn newer_than<F>(
        &self,
        age: Duration,
        read: impl FnOnce(Arc<T>) -> F,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let state = self.state();
        if !state.is_older_than(age) {
            return Ok(state.value);
        }
        let _reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(_) if !state.is_older_than(age * MAX_WAIT_FACTOR) => return Ok(state.value),
            Err(_) => self.reading.lock().await,
        };
        let state = self.state();
        if !state.is_older_than(age) {
            return Ok(state.value);
        }
        match self.read(state.value.clone(), read).await {
            Err(_) if state.read_at.is_some() => Ok(self.set(state.value)),
            read => read,
        }
    }

    /// The value, unless it is older.
    pub(crate) fn recent(&self, age: Duration) -> Option<Arc<T>> {
        let state = self.state();
        (!state.is_older_than(age)).then_some(state.value)
    }

    /// The value as it is now. Requests that ask at a time wait for one of them, which reads it.
    pub(crate) async fn as_of_now<F>(&self, read: impl FnOnce(Arc<T>) -> F) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let asked_at = Instant::now();
        let _reading = self.reading.lock().await;
        let state = self.state();
        if state.read_at.is_some_and(|at| at >= asked_at) {
            return Ok(state.value);
        }
        self.read(state.value, read).await
    }

    async fn read<F>(&self, before: Arc<T>, read: impl FnOnce(Arc<T>) -> F) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        Ok(self.set(Arc::new(read(before).await?)))
    }

    fn state(&self) -> State<T> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: Arc<T>) -> Arc<T> {
        let state = State { value: value.clone(), read_at: Some(Instant::now()) };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        value
    }
}
