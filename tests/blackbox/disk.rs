//! A disk that refuses writes, whose syncs fail, or that says nothing: what costs money stops, what costs nothing goes on, and
//! afterwards the ledger says what the upstream says (reliability test 26). A full disk is in `endurance`.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::oracle::{BIG, cost, spend};
use tests::upstream::Play;
use tests::{Disk, Gateway, Told, Upstream, Wrong, chat, eventually, streamed, two_sides};
use tokio::sync::Semaphore;

/// A hosted side with a model whose stream waits for permits, and a local one; lines are synced.
async fn sides() -> (Upstream, Upstream, Arc<Semaphore>, String) {
    let (hosted, house) = (Upstream::start().await, Upstream::start().await);
    let gate = Arc::new(Semaphore::new(0));
    hosted.play("gated", Play::gated(3, &gate));
    let slow = hosted.provider("slow", "hosted", &[("slow", "gated")]);
    let rest = format!("{slow}{}", two_sides(&hosted, &house).replace("\"process\"", "\"disk\""));
    (hosted, house, gate, rest)
}

fn assert_refused(told: &Told) {
    assert_eq!(told.error(503)["code"], "ledger_unavailable", "{}", told.text());
    assert!(told.header("retry-after").is_some());
}

/// What costs nothing is answered, whole and streamed.
async fn assert_local_answers(gateway: &Gateway) {
    let whole = gateway.tell(&chat("small", "x")).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let stream = gateway.tell(&streamed("small", "x")).await;
    assert!(stream.done(), "{}", stream.text());
    assert_eq!(gateway.get("/livez").await.status, 200);
}

/// Commits that have failed so far, by the log.
fn failures(gateway: &Gateway) -> usize {
    gateway.log_lines().iter().filter(|line| line["fields"]["message"] == "cannot write the ledger").count()
}

/// After a death and on a disk that works: each call that an upstream had is on the ledger once, at what it cost.
async fn assert_all_is_there(gateway: &mut Gateway, hosted: &Upstream, house: &Upstream) {
    eventually("all is on the ledger", async || {
        let (lines, _) = spend(gateway, "route").await;
        let of = |route: &str| lines.get(route).map_or(0, |sums| sums.requests as usize);
        (of("local") >= house.count() && of("hosted") >= hosted.count()).then_some(())
    })
    .await;
    gateway.kill().await;
    let next = Gateway::serve(gateway.folder.clone(), &[]).await;
    let (lines, _) = spend(&next, "route").await;
    assert_eq!(lines.get("local").map_or(0, |sums| sums.requests as usize), house.count());
    assert_eq!(lines["hosted"].requests as usize, hosted.count(), "each once, and nothing that was not called");
    let owed: u128 = hosted.log().iter().map(|seen| cost(seen.stated.expect("tokens were stated"), BIG)).sum();
    assert_eq!(lines["hosted"].cost, owed, "to the nano-dollar");
    assert_eq!(next.cli(&["ledger", "verify"])["valid"], true);
}

async fn is_got_over(how: Wrong) {
    let Some(disk) = Disk::new() else { return };
    let (hosted, house, gate, rest) = sides().await;
    let mut gateway = disk.gateway(&rest).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    assert_local_answers(&gateway).await;
    gate.add_permits(1);
    let mut under_way = gateway.live(&streamed("slow", "x")).await;
    under_way.next().await.expect("an event");

    disk.breaks(how);
    let called = hosted.count();
    for body in [chat("big", "x"), streamed("big", "x"), chat("slow", "x")] {
        assert_refused(&gateway.tell(&body).await);
    }
    assert_eq!(hosted.count(), called, "nothing is dialled that cannot be written down");
    assert_local_answers(&gateway).await;
    // What was under way has cost something, and that cannot be written down before its last byte.
    gate.add_permits(100);
    let cut = under_way.told().await;
    assert!(!cut.done() && cut.stream_error().is_some(), "{}", cut.text());
    // It is tried again and again, by something that would reach the disk.
    let before = failures(&gateway);
    eventually("it was tried twice more", async || {
        assert_eq!(gateway.get("/readyz").await.json()["status"], "ledger_unavailable");
        (failures(&gateway) >= before + 2).then_some(())
    })
    .await;
    assert_refused(&gateway.tell(&chat("big", "x")).await);

    disk.heals(how);
    let healed = Instant::now();
    eventually("it is got over, by itself", async || (gateway.get("/readyz").await.status == 200).then_some(())).await;
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
    for _ in 0..3 {
        assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    }
    assert_local_answers(&gateway).await;
    assert_all_is_there(&mut gateway, &hosted, &house).await;
}

#[tokio::test]
async fn writes_that_fail_stop_what_costs_money_and_nothing_else_and_are_got_over() {
    is_got_over(Wrong::WriteFails).await;
}

#[tokio::test]
async fn a_sync_that_fails_stops_what_costs_money_and_nothing_else_and_is_got_over() {
    is_got_over(Wrong::SyncFails).await;
}

#[tokio::test]
async fn what_a_failed_sync_lost_is_written_again_and_no_later_sync_is_taken_for_it() {
    is_got_over(Wrong::SyncLoses).await;
}

#[tokio::test]
async fn what_was_refused_because_a_sync_failed_is_not_found_committed_after_a_death() {
    let Some(disk) = Disk::new() else { return };
    let (hosted, house, _, rest) = sides().await;
    let mut gateway = disk.gateway(&rest).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    disk.breaks(Wrong::SyncFails);
    assert_refused(&gateway.tell(&chat("big", "x")).await);
    // What was written of it is still in the file.
    assert_all_is_there(&mut gateway, &hosted, &house).await;
}

#[tokio::test]
async fn a_sync_that_does_not_return_keeps_nobody_waiting_and_is_got_over() {
    let Some(disk) = Disk::new() else { return };
    let (hosted, house, gate, rest) = sides().await;
    let mut gateway = disk.gateway(&rest).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    gate.add_permits(1);
    let mut under_way = gateway.live(&streamed("slow", "x")).await;
    under_way.next().await.expect("an event");

    disk.breaks(Wrong::SyncStalls);
    let called = hosted.count();
    let began = Instant::now();
    // The first that wants to spend waits for a moment: a disk may just be busy. What costs nothing does not wait with it.
    let first = chat("big", "x");
    let (refused, ()) = tokio::join!(gateway.tell(&first), assert_local_answers(&gateway));
    assert_refused(&refused);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let began = Instant::now();
    for body in [chat("big", "x"), streamed("big", "x")] {
        assert_refused(&gateway.tell(&body).await);
    }
    assert_eq!(gateway.get("/readyz").await.json()["status"], "ledger_unavailable");
    assert_local_answers(&gateway).await;
    assert!(began.elapsed() < Duration::from_secs(2), "from here on at once: {:?}", began.elapsed());
    assert_eq!(hosted.count(), called, "nothing is dialled that is not written down");
    // What has its answer already waits longer, and loses nothing to a stall that ends.
    gate.add_permits(100);
    eventually("the upstream has said all", async || (hosted.open() == 0).then_some(())).await;

    disk.heals(Wrong::SyncStalls);
    let answered = under_way.told().await;
    assert!(answered.done(), "{}", answered.text());
    eventually("it is got over, by itself", async || (gateway.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(gateway.tell(&chat("big", "x")).await.status, 200);
    let owed: u128 = hosted.log().iter().map(|seen| cost(seen.stated.expect("tokens were stated"), BIG)).sum();
    eventually("what it came to is on the ledger", async || {
        (spend(&gateway, "route").await.0["hosted"].cost == owed).then_some(())
    })
    .await;
    gateway.kill().await;
    let next = Gateway::serve(gateway.folder.clone(), &[]).await;
    let (lines, _) = spend(&next, "route").await;
    assert_eq!((lines["hosted"].cost, lines["local"].requests as usize), (owed, house.count()));
    assert_eq!(next.cli(&["ledger", "verify"])["valid"], true);
}
