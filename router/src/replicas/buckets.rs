//! Buckets of rate limits that replicas share.

use super::link::Link;
use super::{Shared, Unanswered, number, odd, scripts, text};
use std::sync::Arc;

/// A connection of their own: a request asks for its limits, and must not wait behind one that asks for a budget.
#[derive(Clone)]
pub(crate) struct SharedBuckets {
    link: Link,
    prefix: Arc<str>,
}

/// What is asked of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    /// Its name.
    pub(crate) bucket: String,
    /// The whole of it.
    pub(crate) amount: u64,
    /// The time in which it fills, in milliseconds.
    pub(crate) period_ms: u64,
    /// Units to take.
    pub(crate) units: u64,
    /// Units that were taken before, where that is put right.
    pub(crate) before: u64,
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// From each, or from none.
    Enter,
    /// From each, as far as there is something.
    Take,
    /// In the place of what was taken before.
    Correct,
}

// === impl SharedBuckets ===

impl SharedBuckets {
    pub(super) fn start(shared: &Shared) -> Result<Self, std::io::Error> {
        let link = Link::start(shared.spec.client.clone(), "limits-net")?;
        Ok(Self { link, prefix: shared.spec.prefix.as_str().into() })
    }

    /// Takes; gives whether all of it was there, and what is taken of each bucket now, in millionths of a unit.
    ///
    /// # Cancel safety
    /// A dropped future's question is asked all the same.
    pub(crate) async fn take(&self, how: Asked, takes: Vec<Take>) -> Result<(bool, Vec<u64>), Unanswered> {
        let wanted = takes.len();
        let told: Vec<redis::Value> = self.link.ask(self.question(how, takes)).await?;
        let taken = told.iter().skip(1).map(|taken| text(Some(taken)).and_then(|taken| taken.parse().ok()));
        let taken: Vec<u64> =
            taken.collect::<Option<_>>().filter(|taken: &Vec<u64>| taken.len() == wanted).ok_or_else(odd)?;
        Ok((number(told.first())? == 1, taken))
    }

    /// The same where nobody waits for the answer.
    pub(crate) fn take_later(&self, how: Asked, takes: Vec<Take>) {
        if !takes.is_empty() {
            self.link.tell(self.question(how, takes));
        }
    }

    fn question(
        &self,
        how: Asked,
        takes: Vec<Take>,
    ) -> impl FnOnce(&mut redis::Connection) -> redis::RedisResult<Vec<redis::Value>> + Send + use<> {
        let prefix = self.prefix.clone();
        move |connection| {
            let mut call = scripts::LIMIT.prepare_invoke();
            call.arg(match how {
                Asked::Enter => "enter",
                Asked::Take => "take",
                Asked::Correct => "correct",
            });
            for Take { bucket, amount, period_ms, units, before } in takes {
                call.key(format!("{{{prefix}}}:l:{bucket}")).arg(amount).arg(period_ms).arg(units).arg(before);
            }
            call.invoke(connection)
        }
    }
}
