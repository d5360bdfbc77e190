//! The asynchronous runtime as the library sees it: tokio's, with chance from [`place`].
//!
//! Its watch channels wake who waits in the order in which they began to wait. Those of tokio pick
//! an order at random, and the tasks of replication would then run in another one each time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use openraft::async_runtime::{AsyncRuntime, watch};
use openraft::{OptionalSend, OptionalSync};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime as Tokio;
use tokio::sync::{Notify, watch as tokio_watch};

use super::place;

/// The library's own way to a generator with a given seed.
type Seeded = DeterministicRng<Tokio>;

/// What the library runs on.
#[derive(Debug)]
pub(super) struct Runtime(Tokio);

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        Tokio::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Seeded::scope(place::random(), async { Seeded::thread_rng() })
            .now_or_never()
            .expect("making a generator waits for nothing")
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// Channels that hold one value and tell when it changes.
pub(super) struct Watch;

/// The writing side.
pub(super) struct Sender<T> {
    value: tokio_watch::Sender<T>,
    changed: Arc<Changed>,
}

/// The reading side.
pub(super) struct Receiver<T> {
    value: tokio_watch::Receiver<T>,
    changed: Arc<Notify>,
}

/// Wakes all who wait, the last time when no sender is left.
struct Changed(Arc<Notify>);

impl Drop for Changed {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), changed: Arc::clone(&self.changed) }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), changed: Arc::clone(&self.changed) }
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = tokio_watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio_watch::channel(init);
        let changed = Arc::new(Notify::new());
        let sender = Sender { value: sender, changed: Arc::new(Changed(Arc::clone(&changed))) };
        (sender, Receiver { value: receiver, changed })
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), watch::SendError<T>> {
        self.value.send(value).map_err(|error| watch::SendError(error.0))?;
        self.changed.0.notify_waiters();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = self.value.send_if_modified(modify);
        if modified {
            self.changed.0.notify_waiters();
        }
        modified
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver { value: self.value.subscribe(), changed: Arc::clone(&self.changed.0) }
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), watch::RecvError> {
        loop {
            // Waits from here on, so a change between the look and the wait is not missed.
            let changed = self.changed.notified();
            let closed = self.value.has_changed().is_err();
            let news = self.value.borrow().has_changed();
            if news {
                self.value.mark_unchanged();
                return Ok(());
            }
            if closed {
                return Err(watch::RecvError(()));
            }
            changed.await;
        }
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn borrow_and_update(&mut self) -> tokio_watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }
}
