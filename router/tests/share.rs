//! The share is kept on real prompts: the routing pack's, where it is at hand (`SLUICE_ROUTING_DATA`, or beside the
//! checkout), and the everyday prompts in the repository.
#![expect(clippy::unwrap_used, reason = "tests")]

#[cfg(test)]
#[path = "../../tests/src/skip.rs"]
mod skip;

use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};
use router::Share;
use router::learn::rows;
use router::probe::{Probe, Reading};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const GOAL: f32 = 0.3;
const COUNTED: usize = 500;

/// Scores by source, without the encoder: what is tested is the controller.
fn scores() -> BTreeMap<String, Vec<f32>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pack = option_env!("SLUICE_ROUTING_DATA").map_or_else(|| here.join("../../shared/data/routing"), PathBuf::from);
    let probe = Probe::bundled().unwrap().without_encoder();
    let mut by_source: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let dev = pack.join("dev.jsonl.gz");
    if !dev.is_file() {
        skip::skipped("data", &format!("{} is not there: only the everyday prompts are looked at", dev.display()));
    } else {
        for row in rows::read(&dev).unwrap() {
            let score = probe.need(&row.reading);
            by_source.entry(row.source).or_default().push(score);
        }
    }
    let everyday = by_source.entry("everyday".into()).or_default();
    for part in ["part1", "part2"] {
        for request in rows::read_requests(&here.join(format!("assets/everyday/{part}.jsonl"))).unwrap() {
            everyday.push(probe.need(&Reading::of_request(&request)));
        }
    }
    by_source
}

/// A stream of so many scores of one source, in random order, again and again.
fn stream(scores: &[f32], count: usize, seed: u64) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    while all.len() < count {
        let mut turn = scores.to_vec();
        turn.shuffle(&mut random);
        all.extend(turn);
    }
    all.truncate(count);
    all
}

fn kept(share: &Share, scores: &[f32]) -> f32 {
    let went: Vec<bool> = scores
        .iter()
        .map(|score| {
            let hosted = *score >= share.threshold();
            share.observe(*score, hosted);
            hosted
        })
        .collect();
    went[went.len() - COUNTED..].iter().filter(|hosted| **hosted).count() as f32 / COUNTED as f32
}

#[test]
fn every_source_keeps_the_share_within_three_points_and_a_change_of_source_within_five() {
    let by_source = scores();
    let cold = Probe::bundled().unwrap().cold_quantiles().to_vec();
    for (name, scores) in &by_source {
        for seed in 0..5 {
            let kept = kept(&Share::new(GOAL, &cold), &stream(scores, 1_500, seed));
            assert!((kept - GOAL).abs() <= 0.03, "{name}, seed {seed}: {kept}");
        }
        for (other, after) in by_source.iter().filter(|(other, _)| *other != name) {
            let share = Share::new(GOAL, &cold);
            kept_before(&share, &stream(scores, 1_000, 1));
            let kept = kept(&share, &stream(after, COUNTED, 2));
            assert!((kept - GOAL).abs() <= 0.05, "{name}, then {other}: {kept}");
        }
    }
}

fn kept_before(share: &Share, scores: &[f32]) {
    for score in scores {
        share.observe(*score, *score >= share.threshold());
    }
}
