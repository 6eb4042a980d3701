//! Costly things that threads borrow from each other.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

/// At most one thing for each core. A thread that finds none waits for one:
/// they are used to compute, so more at once would be done no sooner.
pub(super) struct Pool<T> {
    stock: Mutex<Stock<T>>,
    returned: Condvar,
    most: usize,
}

struct Stock<T> {
    idle: Vec<Box<T>>,
    /// How many are borrowed.
    lent: usize,
}

/// Held while a thing is borrowed. Dropping it, by a panic too, lets another
/// thread have one.
struct Loan<'a, T> {
    pool: &'a Pool<T>,
    /// What is given back: nothing after a panic.
    back: Option<Box<T>>,
}

impl<T> Pool<T> {
    pub(super) fn new() -> Pool<T> {
        Pool {
            stock: Mutex::new(Stock {
                idle: Vec::new(),
                lent: 0,
            }),
            returned: Condvar::new(),
            most: available_parallelism().map_or(1, NonZero::get),
        }
    }

    /// Borrows a thing, or makes one; `None` if none can be made.
    pub(super) fn with<R>(
        &self,
        make: impl FnOnce() -> Option<Box<T>>,
        act: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let idle = self.borrow();
        let mut loan = Loan {
            pool: self,
            back: None,
        };
        let mut thing = idle.or_else(make)?;
        let result = act(&mut thing);
        loan.back = Some(thing);
        Some(result)
    }

    /// Takes what is idle; `None` where one may be made.
    fn borrow(&self) -> Option<Box<T>> {
        let stock = self.stock();
        let none = |stock: &mut Stock<T>| stock.idle.is_empty() && stock.lent >= self.most;
        let waited = self.returned.wait_while(stock, none);
        let mut stock = waited.unwrap_or_else(PoisonError::into_inner);
        stock.lent += 1;
        stock.idle.pop()
    }

    fn stock(&self) -> MutexGuard<'_, Stock<T>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        let mut stock = self.pool.stock();
        stock.lent -= 1;
        stock.idle.extend(self.back.take());
        drop(stock);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_are_made_than_are_used_at_once() {
        let pool = Pool::new();
        let made = AtomicUsize::new(0);
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            Some(Box::new(0_u32))
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..500).for_each(|_| pool.with(make, |n| *n += 1).unwrap()));
            }
        });
        let stock = pool.stock();
        assert_eq!(stock.idle.iter().map(|n| **n).sum::<u32>(), 4000);
        assert!(made.load(Ordering::Relaxed) <= pool.most);
        assert_eq!(stock.lent, 0);
    }

    #[test]
    fn a_panic_and_a_failure_give_the_place_back() {
        let pool = Pool::<u32>::new();
        for _ in 0..2 * pool.most {
            assert_eq!(pool.with(|| None, |_| ()), None);
            let panics = || pool.with(|| Some(Box::new(1)), |_| panic!("as the test wants"));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        }
        assert_eq!(pool.with(|| Some(Box::new(2)), |n| *n), Some(2));
        assert_eq!(pool.with(|| None, |n| *n), Some(2), "it was kept");
    }
}
