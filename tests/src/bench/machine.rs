//! Where this runs, what a process costs, and how results are shown.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The core of the proxy.
pub const PROXY_CORE: &str = "0";
/// The core of everything else.
pub const OTHER_CORE: &str = "1";

/// Whether there are two cores to pin to, and the tool for it.
pub fn can_pin() -> bool {
    let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    two && Command::new("taskset").arg("--version").output().is_ok()
}

/// Pins this process, all its threads and those it will start.
pub fn pin_myself() -> bool {
    let me = std::process::id().to_string();
    can_pin()
        && Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", OTHER_CORE, &me])
            .output()
            .is_ok_and(|output| output.status.success())
}

/// A command, on the proxy's core where there is one.
pub fn on_proxy_core(program: &Path, pinned: bool) -> Command {
    if !pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", PROXY_CORE]).arg(program);
    command
}

/// CPU time of a process with all its threads.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; utime and stime are fields 14 and 15 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    static TICKS: OnceLock<u64> = OnceLock::new();
    *TICKS.get_or_init(|| {
        let asked = Command::new("getconf").arg("CLK_TCK").output().ok();
        let said = asked.and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
        // 100 on every Linux there is.
        said.filter(|ticks| *ticks > 0).unwrap_or(100)
    })
}

/// A line of `/proc/PID/status` in MiB: `VmRSS`, `VmHWM`, `RssAnon`, `RssFile`.
pub fn memory(pid: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// How long this disk takes to make 256 bytes durable: every durable line waits for it.
pub fn fdatasync(folder: &Path) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds");
    let path = folder.join("fdatasync");
    let mut file = fs::File::create(&path).expect("a file");
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[b'x'; 256]).and_then(|()| file.sync_data()).expect("written");
        histogram.saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
    }
    fs::remove_file(path).ok();
    histogram
}

/// What the figures depend on.
pub fn environment(binary: &Path) -> Value {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = text("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let asked = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = asked("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
    let changed = asked("git", &["-C", env!("CARGO_MANIFEST_DIR"), "status", "--porcelain", "--untracked-files=no"]);
    let changed = changed.is_some_and(|changes| !changes.is_empty());
    let built = fs::metadata(binary).and_then(|meta| meta.modified()).ok();
    json!({
        "processor": processor.map_or("unknown", |(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": text("/proc/sys/kernel/osrelease").trim(),
        "commit": commit.map(|commit| if changed { format!("{commit} with changes") } else { commit }),
        "binary": binary.display().to_string(),
        "binary_age_s": built.and_then(|built| built.elapsed().ok()).map(|age| age.as_secs()),
        "load_average": text("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
    })
}

/// The environment as one line.
pub fn environment_line(environment: &Value) -> String {
    let word = |key: &str| {
        let value = &environment[key];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    format!(
        "{}, {} cores, Linux {}, commit {}, load average at start {}",
        word("processor"),
        word("cores"),
        word("kernel"),
        word("commit"),
        word("load_average")
    )
}

/// A table in Markdown, its columns aligned for those who read it in a terminal.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(at, (cell, width))| if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(head.iter().map(|cell| (*cell).to_owned()).collect());
    let rule = widths.iter().enumerate().map(|(at, width)| match at {
        0 => "-".repeat(width + 2),
        _ => format!("{}:", "-".repeat(width + 1)),
    });
    text.push_str(&format!("|{}|\n", rule.collect::<Vec<_>>().join("|")));
    rows.iter().for_each(|row| text.push_str(&line(row.clone())));
    text
}

/// A whole number with its thousands apart.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `met` or `missed`.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}
