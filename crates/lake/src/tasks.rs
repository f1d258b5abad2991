//! Pieces of work side by side, each in a task of its own, so that they share the cores, and no more of them than asked for.

use tokio::task::JoinSet;

use crate::error::{LakeError, Result};

/// Pieces of work that compute and also wait for storage: one more than there are cores.
#[must_use]
pub fn cores_and_one() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 1
}

/// Does all of `work`, `at_once` of it at a time; what has not had its turn has not begun. The results are in the order of the
/// work. Dropped, or once a piece has failed, it ends those under way.
///
/// # Errors
/// The first error of a piece.
pub async fn side_by_side<R, F>(work: Vec<F>, at_once: usize) -> Result<Vec<R>>
where
    R: Send + 'static,
    F: Future<Output = Result<R>> + Send + 'static,
{
    let mut waiting = work.into_iter().enumerate();
    let mut running: JoinSet<(usize, Result<R>)> = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < at_once.max(1)
            && let Some((number, work)) = waiting.next()
        {
            running.spawn(async move { (number, work.await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (number, result) = ended.map_err(|error| LakeError::definite(format!("a task ended badly: {error}")))?;
        done.push((number, result?));
    }
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn results_come_in_order_and_no_more_run_than_asked_for() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |number: usize| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..(40 - number) {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(number * 2)
            }
        };
        let done = side_by_side((0..40).map(work).collect(), 3).await.unwrap();
        assert_eq!(done, (0..40).map(|number| number * 2).collect::<Vec<_>>());
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn the_first_error_ends_it_and_a_panic_is_one() {
        let works = |number: usize| async move {
            match number {
                3 => Err(LakeError::definite("three")),
                8 => panic!("on purpose"),
                _ => Ok(number),
            }
        };
        let reason = |ended: Result<Vec<usize>>| ended.unwrap_err().to_string();
        assert!(reason(side_by_side((0..6).map(works).collect(), 2).await).contains("three"));
        assert!(reason(side_by_side((5..9).map(works).collect(), 2).await).contains("ended badly"));
    }
}
