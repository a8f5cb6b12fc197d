//! The share is kept on real prompts: the everyday prompts in the repository always, with changes of source in the midst, and the
//! routing pack's where it is at hand (`SLUICE_ROUTING_DATA`, or beside the checkout), which is said loudly where it is not.
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

type Sources = BTreeMap<String, Vec<f32>>;

fn probe() -> Probe {
    Probe::bundled().unwrap().without_encoder()
}

/// Scores of the everyday prompts, without the encoder (what is tested is the controller), by source: all of them, and what may follow
/// each other: short ones and long ones, the easy half and the hard half by grade, what is written and what is computed.
fn everyday() -> Sources {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let probe = probe();
    let mut by_source = Sources::new();
    for part in ["part1", "part2"] {
        let file = here.join(format!("assets/everyday/{part}.jsonl"));
        let text = std::fs::read_to_string(&file).unwrap();
        let requests = rows::read_requests(&file).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), requests.len(), "a request a line");
        for (row, request) in lines.iter().zip(requests) {
            let reading = Reading::of_request(&request);
            let score = probe.need(&reading);
            let grade = row["need"].as_f64().unwrap();
            let counted =
                matches!(row["category"].as_str(), Some("code" | "math" | "logic" | "analysis" | "data" | "agent"));
            for source in [
                "everyday",
                if reading.text().len() < 150 { "everyday, short" } else { "everyday, long" },
                if grade < 0.5 { "everyday, easy" } else { "everyday, hard" },
                if counted { "everyday, computed" } else { "everyday, written" },
            ] {
                by_source.entry(source.into()).or_default().push(score);
            }
        }
    }
    by_source
}

/// Scores of the pack's development rows by source; none where the pack is not at hand.
fn pack() -> Sources {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder =
        option_env!("SLUICE_ROUTING_DATA").map_or_else(|| here.join("../../shared/data/routing"), PathBuf::from);
    let dev = folder.join("dev.jsonl.gz");
    let mut by_source = Sources::new();
    if !dev.is_file() {
        skip::skipped("data", &format!("there is no {} (SLUICE_ROUTING_DATA names the folder)", dev.display()));
        return by_source;
    }
    let probe = probe();
    for row in rows::read(&dev).unwrap() {
        let score = probe.need(&row.reading);
        by_source.entry(row.source).or_default().push(score);
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

/// Streams scores through; the share that went hosted among the last ones.
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

fn check(by_source: &Sources) {
    let cold = Probe::bundled().unwrap().cold_quantiles().to_vec();
    for (name, scores) in by_source {
        for seed in 0..5 {
            let kept = kept(&Share::new(GOAL, &cold), &stream(scores, 1_500, seed));
            assert!((kept - GOAL).abs() <= 0.03, "{name}, seed {seed}: {kept}");
        }
        for (other, after) in by_source.iter().filter(|(other, _)| *other != name) {
            let share = Share::new(GOAL, &cold);
            kept(&share, &stream(scores, 1_000, 1));
            let kept = kept(&share, &stream(after, COUNTED, 2));
            assert!((kept - GOAL).abs() <= 0.05, "{name}, then {other}: {kept}");
        }
    }
}

#[test]
fn everyday_prompts_keep_the_share_within_three_points_and_a_change_of_source_within_five() {
    let by_source = everyday();
    let mean = |name: &str| by_source[name].iter().sum::<f32>() / by_source[name].len() as f32;
    // Else a change of source would be none.
    assert!(
        mean("everyday, hard") - mean("everyday, easy") > 0.1,
        "{} {}",
        mean("everyday, hard"),
        mean("everyday, easy")
    );
    check(&by_source);
}

#[test]
fn every_source_of_the_pack_keeps_the_share_within_three_points_and_a_change_of_source_within_five() {
    let mut by_source = pack();
    if !by_source.is_empty() {
        by_source.extend(everyday().remove_entry("everyday"));
        check(&by_source);
    }
}
