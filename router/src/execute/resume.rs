//! Going on where an earlier life stopped.
//!
//! **Promise.** After a restart thresholds stand where they stood, to a rank and a step, and `sluice explain`, which is a life of its own
//! for one request, meets the threshold that the gateway has. What is read are the last judged requests on the ledger, of the same
//! head in the same lane; reading changes nothing.
//!
//! **What it does not do.** Replicas that share a ledger go on with what all of them counted. What was still under way counts from
//! when it was written.

use super::consider::Seat;
use super::story;
use super::walk::Router;
use crate::classify::{COUNTED, Counted, MEMORY, SpendEvent};
use crate::ledger::{CountedRow, LedgerError};
use policies::Location;
use std::time::Duration;
use tokio::time::Instant;

/// The most hosted attempts whose cost is read.
const COSTS: usize = 10_000;

impl Router {
    /// Brings what keeps a share, a rate of money or the median of doubts to where an earlier life left it; who has seen requests
    /// already is left alone. Reads the ledger, so it blocks.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn resume(&self) -> Result<(), LedgerError> {
        let mut seats: Vec<(&Seat, Vec<CountedRow>)> = Vec::new();
        let mut looks = Vec::new();
        for seat in self.seats() {
            let rows = self.desk.ledger.counted(&seat.judge, &seat.lane, COUNTED)?;
            looks.extend(rows.iter().filter_map(|row| Some((row.at_us, row.look.clone()?))));
            // An arm with a threshold of its own has counted for itself.
            let own = |row: &CountedRow| row.arm.and_then(|arm| self.arms.iter().find(|(of, _)| *of == arm));
            if seat.lane.is_empty() && seat.judge == self.usual.judge {
                for (arm, seat) in &self.arms {
                    let rows = rows.iter().filter(|row| row.arm == Some(*arm)).cloned().collect();
                    seats.push((seat, rows));
                }
                seats.push((seat, rows.iter().filter(|row| own(row).is_none()).cloned().collect()));
            } else {
                seats.push((seat, rows));
            }
        }
        let aims = self.aims(&seats)?;
        let mut aims = aims.into_iter();
        for (seat, rows) in &seats {
            let counted: Vec<Counted> = rows
                .iter()
                .map(|row| Counted {
                    score: row.score,
                    threshold: row.threshold,
                    hosted: row.side == Location::Hosted,
                    aim: aims.next().flatten(),
                })
                .collect();
            seat.share.resume(&counted);
        }
        looks.sort_by_key(|(at_us, _)| *at_us);
        let beyond = looks.len().saturating_sub(COUNTED);
        let looks: Vec<Counted> = looks
            .into_iter()
            .skip(beyond)
            .map(|(_, look)| Counted {
                score: look.wrong,
                threshold: look.threshold.unwrap_or(f32::INFINITY),
                hosted: look.verdict != "kept",
                aim: None,
            })
            .collect();
        self.cascade.resume(&looks);
        Ok(())
    }

    /// The share that a rate of money aimed at after each row of each seat; nothing where no rate is kept.
    fn aims(&self, seats: &[(&Seat, Vec<CountedRow>)]) -> Result<Vec<Option<f32>>, LedgerError> {
        let count = seats.iter().map(|(_, rows)| rows.len()).sum();
        let mut aims = vec![None; count];
        let Some(spender) = self.config.spender.as_ref().filter(|spender| spender.is_fresh()) else { return Ok(aims) };
        let (now, now_us) = (Instant::now(), story::now_us());
        let since_us = now_us - i64::try_from(MEMORY.as_micros()).unwrap_or(i64::MAX);
        let rows = seats.iter().flat_map(|(_, rows)| rows).enumerate();
        let judged =
            rows.filter(|(_, row)| row.at_us >= since_us).map(|(at, row)| (row.at_us, Some(at), SpendEvent::Judged));
        let costs = self.desk.ledger.hosted_costs(since_us, COSTS)?;
        let costs = costs.into_iter().map(|(ended_us, cost)| (ended_us, None, SpendEvent::Spent(cost)));
        let mut events: Vec<(i64, Option<usize>, SpendEvent)> = judged.chain(costs).collect();
        events.sort_by_key(|(at_us, ..)| *at_us);
        for (at_us, place, event) in events {
            let ago = Duration::from_micros(u64::try_from(now_us - at_us).unwrap_or(0));
            // Before the machine was started there is no time that could be told.
            let Some(at) = now.checked_sub(ago) else { continue };
            let goal = spender.resume(event, at);
            if let Some(aim) = place.and_then(|place| aims.get_mut(place)) {
                *aim = goal;
            }
        }
        Ok(aims)
    }
}
