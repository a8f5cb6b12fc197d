//! How fast a scan is, on one core: `cargo bench -p policies --bench detect`.
//!
//! Each text is scanned whole (all readings, all detectors) until a second has passed; the mean counts, in processor time
//! where the system tells it (Linux). One line a text: MB/s (10^6 bytes), how often the text was read over, and candidates
//! looked at per kilobyte. A word on the command line selects texts by name.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use policies::Classes;
use policies::detect::{DetectConfig, Detectors, Kind, Unscanned};
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const ENGLISH: &str = "The committee met on Tuesday to discuss the budget for the coming year, and decided after a long debate that \
    the library in the old town hall should stay open. Nobody had expected the mayor to agree: in 1998 she had been the first \
    to say that a small town needs no second library. \"People change,\" she said afterwards, \"and so do towns.\"\n\n";
const GERMAN: &str = "Der Ausschuss beriet am Dienstag über den Haushalt für das kommende Jahr und beschloss nach längerer \
    Aussprache, dass die Bücherei im alten Rathaus geöffnet bleibt. Niemand hätte erwartet, dass die Bürgermeisterin zustimmt: \
    1998 hatte sie als Erste gesagt, eine kleine Stadt brauche keine zweite Bücherei.\n\n";
const CHINESE: &str = "委员会周二开会讨论来年的预算，经过长时间的辩论，决定保留旧市政厅里的图书馆。没有人料到市长会同意：\
    一九九八年，她第一个说小城不需要第二座图书馆。“人会变，”她后来说，“城市也会变。”\n\n";
const CODE: &str = "pub fn merge(left: &[u32], right: &[u32]) -> Vec<u32> {\n    let mut out = Vec::with_capacity(left.len() + right.len());\n    \
    let (mut i, mut j) = (0, 0);\n    while i < left.len() && j < right.len() {\n        if left[i] <= right[j] { out.push(left[i]); i += 1; } \
    else { out.push(right[j]); j += 1; }\n    }\n    out.extend_from_slice(&left[i..]); // O(n)\n    out\n}\n\n";
const NUMBERS: &str = "{\"id\": 48213977, \"price\": 1299.95, \"at\": \"2024-05-17T08:31:22Z\", \"stock\": [12, 7, 133], \"sku\": \"AB-48213\"},\n";

fn main() {
    let classes = Classes::standard();
    let detectors = Detectors::new(DetectConfig {
        kinds: Kind::ALL.map(|kind| classes.named(kind.sensitivity().class()).ok()),
        patterns: vec![],
        words: vec![],
        unscanned: None,
        most_bytes: u64::MAX,
        observe: false,
    })
    .unwrap();
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    println!("{:<34} {:>8} {:>9} {:>12}", "text", "MB/s", "readings", "checks/kB");
    for (name, unit) in [
        ("English prose", ENGLISH),
        ("German prose", GERMAN),
        ("Chinese prose", CHINESE),
        ("code", CODE),
        ("JSON with many numbers", NUMBERS),
        ("nothing but groups of digits", "4111 1111 "),
        ("nothing but colons", "1:"),
        ("nothing but base64", "NDExMTEx"),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        let text = unit.repeat((1 << 20) / unit.len());
        let passages = [vec![Cow::Borrowed(text.as_str())]];
        // The first run makes tables.
        black_box(detectors.scan(&passages, Unscanned::default()));
        let (begin, start, mut runs) = (Instant::now(), spent(), 0.0);
        let work = loop {
            let findings = black_box(detectors.scan(black_box(&passages), Unscanned::default()));
            runs += 1.0;
            if begin.elapsed() > Duration::from_secs(1) {
                break findings.work;
            }
        };
        let each = (spent() - start).as_secs_f64() / runs;
        let bytes = text.len() as f64;
        println!(
            "{name:<34} {:>8.1} {:>9.2} {:>12.1}",
            bytes / each / 1e6,
            work.bytes as f64 / bytes,
            work.checks as f64 / bytes * 1e3
        );
    }
}

/// Processor time of this process; where the system does not tell, time that has passed.
fn spent() -> Duration {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let said = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanoseconds = said.and_then(|said| said.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| BEGUN.elapsed(), Duration::from_nanos)
}
