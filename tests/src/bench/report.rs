//! What the relay's benchmark prints.

use super::machine::{self, memory, table, thousands, verdict};
use super::picture;
use super::proxy::Proxy;
use super::relay::{CONNECTIONS, DIRECT, FULL, LEAST, Measured, NGINX, ROUNDS, Row, SHIPPED, TARGET};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Draws the figures next to where they are written as JSON.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn draw(rows: &[Row], json: &Path) -> Result<(), String> {
    let pictures = [
        ("requests", "Whole answers, one core for the proxy", "requests a second, best round", {
            let bars = rows.iter().filter(|row| row.proxy.is_some() && row.whole.is_measured());
            bars.map(|row| (row.name.to_owned(), row.whole.best())).collect::<Vec<_>>()
        }),
        ("cpu", "What a whole answer costs the proxy", "microseconds of processor time, least round", {
            let bars = rows.iter().filter(|row| row.proxy.is_some() && row.whole.is_measured());
            bars.map(|row| (row.name.to_owned(), row.whole.least_cpu_us())).collect()
        }),
        ("p50", "At 200 requests a second, open loop", "median, ms", {
            let bars = rows.iter().filter(|row| row.quiet.answers > 0);
            bars.map(|row| (row.name.to_owned(), row.quiet.ms(0.5))).collect()
        }),
    ];
    for (name, title, unit, values) in pictures.into_iter().filter(|(.., values)| !values.is_empty()) {
        let path = json.with_extension(format!("{name}.svg"));
        std::fs::write(&path, picture::bars(title, unit, values.into_iter()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Prints the tables and gives the figures as JSON.
pub(super) fn report(
    rows: &[Row],
    proxies: &[Proxy],
    environment: &Value,
    disk: &hdrhistogram::Histogram<u64>,
    accounts: &[(u64, Option<u64>)],
    pinned: bool,
    time: Duration,
) -> Value {
    let disk_ms = |quantile: f64| disk.value_at_quantile(quantile) as f64 / 1000.0;
    let resident = |row: &Row| row.proxy.map(|at| memory(proxies[at].pid(), "VmRSS"));
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let direct = find(DIRECT);
    println!("## Relay\n\n{}", machine::environment_line(environment));
    println!(
        "{}; {CONNECTIONS} connections, prompt of 0.9 kB, answer of 16 tokens, {:.1} s each in {ROUNDS} rounds; fdatasync of 256 B: p50 {:.2} ms, p99 {:.2} ms\n",
        if pinned {
            "Proxy on core 0, generator and upstream on core 1"
        } else {
            "NOT PINNED: no second core, or no taskset"
        },
        time.as_secs_f64(),
        disk_ms(0.5),
        disk_ms(0.99),
    );
    let head = |unit: &'static str, cpu: &'static str| {
        ["", unit, "best round", "p50 ms", "p99 ms", cpu, "least", "its core", "errors"]
    };
    let named = |row: &Row, cells: Vec<String>| [vec![row.name.to_owned()], cells].concat();
    let show = |head: &[&str], lines: Vec<Vec<String>>| {
        // Nothing was measured: `--load` asked for another one.
        if !lines.is_empty() {
            println!("{}", table(head, &lines));
        }
    };
    let lines = rows.iter().filter(|row| row.whole.is_measured()).map(|row| {
        let mut cells = named(row, row.whole.cells(row.proxy.is_some()));
        cells.push(resident(row).map_or("-".to_owned(), |mib| format!("{mib:.0}")));
        cells
    });
    show(&[&head("requests/s", "CPU us/request")[..], &["MiB after"]].concat(), lines.collect());
    let lines = rows.iter().filter_map(|row| {
        let stream = row.stream.as_ref().filter(|stream| stream.is_measured())?;
        Some(named(row, stream.cells(row.proxy.is_some())))
    });
    show(&head("streams/s", "CPU us/stream"), lines.collect());
    let lines = rows.iter().filter(|row| row.quiet.answers + row.quiet.errors > 0).map(|row| {
        let added = |quantile: f64| match (row.proxy, direct) {
            (Some(_), Some(direct)) => format!("{:+.2}", row.quiet.ms(quantile) - direct.quiet.ms(quantile)),
            (None, _) | (_, None) => "-".to_owned(),
        };
        let [p50, p99] = [0.5, 0.99].map(|quantile| format!("{:.2}", row.quiet.ms(quantile)));
        named(row, vec![p50, p99, added(0.5), added(0.99), row.quiet.errors.to_string()])
    });
    show(&["at 200 requests/s, open loop", "p50 ms", "p99 ms", "p50 added", "p99 added", "errors"], lines.collect());

    let measured = |row: &&Row| row.whole.is_measured();
    let nginx = find(NGINX).filter(measured);
    let beside = |name: &str| Some(beside_nginx(nginx?, find(name).filter(measured)?));
    let (ratios, shipped) = (beside(FULL), beside(SHIPPED));
    for (answered, on_ledger) in accounts {
        let same = Some(*answered) == *on_ledger;
        let says = on_ledger.map_or("cannot be read".to_owned(), |lines| format!("has {lines}"));
        println!("{answered} right answers, the ledger {says}: {}", if same { "equal" } else { "NOT EQUAL" });
    }
    json!({
        "environment": environment,
        "pinned": pinned,
        "fdatasync_ms": {"p50": disk_ms(0.5), "p99": disk_ms(0.99)},
        "rows": rows.iter().map(|row| json!({
            "name": row.name, "whole": row.whole.shown(), "stream": row.stream.as_ref().map(Measured::shown),
            "at_200": {"p50_ms": row.quiet.ms(0.5), "p99_ms": row.quiet.ms(0.99), "errors": row.quiet.errors},
            "resident_mib": resident(row),
        })).collect::<Vec<_>>(),
        "ratios": ratios,
        "ratios_shipped": shipped,
        "accounts": accounts.iter().map(|(answered, lines)| json!({"answered": answered, "on_ledger": lines})).collect::<Vec<_>>(),
    })
}

/// Prints what share of nginx a line of Sluice reaches, and gives the shares as JSON.
fn beside_nginx(nginx: &Row, row: &Row) -> Value {
    let (best, all) = (row.whole.best() / nginx.whole.best(), row.whole.loaded.rate() / nginx.whole.loaded.rate());
    let per_cpu = nginx.whole.least_cpu_us() / row.whole.least_cpu_us();
    println!(
        "{} / nginx, requests/s: {best:.3} between the best rounds ({all:.3} over all); at least {LEAST:.2}: {}; target {:.2} or {}/s: {}",
        row.name,
        verdict(best >= LEAST),
        TARGET.0,
        thousands(TARGET.1),
        verdict(best >= TARGET.0 || row.whole.best() >= TARGET.1),
    );
    println!("the same by CPU time per request: {per_cpu:.3}");
    let mut ratios = json!({"requests": best, "requests_over_all": all, "cpu": per_cpu});
    let streams = (nginx.stream.as_ref(), row.stream.as_ref());
    if let (Some(nginx), Some(row)) = streams
        && nginx.is_measured()
        && row.is_measured()
    {
        let (streams, per_cpu) = (row.best() / nginx.best(), nginx.least_cpu_us() / row.least_cpu_us());
        println!("streams/s: {streams:.3}; by CPU time: {per_cpu:.3}");
        ratios["streams"] = json!(streams);
        ratios["streams_cpu"] = json!(per_cpu);
    }
    ratios
}
