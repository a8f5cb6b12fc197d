//! The corpora of the fuzz targets, replayed on stable: each seed as it is, and variants of it by a generator with a seed
//! (turned bits, cuts, splices, repeats), so that a law that broke is found without nightly Rust.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Variants of each seed: a few in `make test`, many in `make soak`.
fn variants() -> u64 {
    if std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full") { 20_000 } else { 60 }
}

/// The longest that one input may take.
const LONGEST: Duration = Duration::from_secs(10);

/// A linear congruential generator (Knuth's MMIX constants): the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// Bytes that mean something to one parser or another.
const TELLING: &[u8] = b"\0\n\r\t \"\\{}[]:,=+-.0129eE#\x7f\x80\xc3\xef\xbf\xff";

/// A variant of `seed`, at times spliced with `other`.
fn vary(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 if !bytes.is_empty() => bytes[at] = TELLING[dice.below(TELLING.len())],
            3 => bytes.insert(at, TELLING[dice.below(TELLING.len())]),
            4 => {
                let from = dice.below(other.len());
                let some = &other[from..other.len().min(from + dice.below(200))];
                bytes.splice(at..at, some.iter().copied());
            }
            5 => {
                // What is there again, some times.
                let end = bytes.len().min(at + dice.below(40));
                let piece = bytes[at..end].repeat(dice.below(20));
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = bytes.len().min(at + dice.below(20));
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut seeds: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Runs one input; where a law is broken, says which, and shows the bytes.
fn run(name: &str, target: fn(&[u8]), what: &str, bytes: &[u8]) {
    let began = Instant::now();
    let held = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(held.is_ok(), "{name}: {what} broke a law: {:?}", String::from_utf8_lossy(bytes));
    assert!(began.elapsed() < LONGEST, "{name}: {what} took {:?}", began.elapsed());
}

fn replay(name: &str) {
    let (_, target) = *sluice::fuzz::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "{name} has seeds");
    let mut dice = Dice(0x5eed);
    for (at, (file, seed)) in seeds.iter().enumerate() {
        run(name, target, file, seed);
        for n in 0..variants() {
            let other = &seeds[(at + 1 + n as usize) % seeds.len()].1;
            run(name, target, &format!("variant {n} of {file}"), &vary(seed, other, &mut dice));
        }
    }
}

macro_rules! replayed {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            replay($name);
        })*

        #[test]
        fn every_target_is_replayed_and_every_corpus_has_a_target() {
            let known: Vec<&str> = sluice::fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, [$($name),*]);
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
            for name in known {
                assert!(folder.join("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}");
            }
        }
    };
}

replayed! {
    whatever_is_posted_is_read_or_refused: "wire_request";
    a_stream_is_the_same_however_it_is_cut: "sse";
    whatever_a_provider_says_is_folded_or_passed_over: "translation";
    a_configuration_is_read_or_refused_in_sentences: "config";
    a_price_table_is_read_or_refused: "price_file";
    one_key_opens_and_no_other_bytes: "key_header";
    what_detectors_find_lies_in_the_text: "detectors";
    no_altered_export_is_sound: "evidence";
}

#[test]
fn the_committed_export_is_sound() {
    let key = sluice::fuzz::EXPORT_KEY.trim().parse().unwrap();
    let sound = router::audit::verify::verify(sluice::fuzz::EXPORT, key, &[]).unwrap();
    assert!(sound.whole && sound.records >= 4, "or the target above could not fail");
}
