//! `residency.mode = "offline"`: nothing outside is configured, fetched or dialled, and the house goes on answering where no
//! packet can leave the machine.

use std::process::Command;
use std::time::Duration;
use tests::gateway::{Gateway, folder, run};
use tests::{chat, streamed};

const HOUSE: &str = "[providers.in-process]\nkind = \"mistralrs\"\nsource = \"smollm2-135m\"\n\
    [models.smollm2]\nprovider = \"in-process\"\n[router]\nlocal = \"smollm2\"\nhosted = []\n\
    [residency]\nmode = \"offline\"\n";
const INSIDE: &str = "offline::inside_a_network_that_ends_at_the_machine";

/// Runs the test below in a network namespace of its own, whose only device is the loopback.
#[test]
fn local_answers_flow_with_all_egress_denied() {
    let program = std::env::current_exe().expect("this program");
    let script = "ip link set lo up && exec \"$0\" --exact \"$1\" --ignored --nocapture";
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", script])
        .arg(program)
        .arg(INSIDE)
        .output()
        .expect("util-linux is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if said.contains("Operation not permitted") {
        return tests::skipped("namespace", "this machine lets nobody make a network namespace");
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, inside of its network namespace"]
async fn inside_a_network_that_ends_at_the_machine() {
    let outside = tokio::net::TcpStream::connect("192.0.2.1:443");
    let refused = tokio::time::timeout(Duration::from_secs(5), outside).await.expect("refused at once");
    assert!(refused.is_err(), "the network ends at the machine");
    let gateway = Gateway::start(HOUSE).await;
    gateway.ready().await;
    let mut body = chat("auto", "Name the capital of France.");
    body["max_tokens"] = 20.into();
    let restricted = [("x-sluice-data-class", "restricted")];
    let whole = gateway.tell_with(&body, &restricted).await;
    assert_eq!((whole.status, whole.said("x-sluice-route")), (200, "local"), "{}", whole.text());
    assert!(!whole.answer().is_empty());
    let mut body = streamed("auto", "Name the capital of France.");
    body["max_tokens"] = 20.into();
    assert!(gateway.tell(&body).await.done());
    // Whatever is asked: the model in the house answers, or it is refused; nothing is waited for that cannot come.
    let (mut dice, asked) = (tests::Dice(11), tests::size(200, 2_000));
    let mut local = 0;
    for n in 0..asked {
        let (mut body, headers, _, _) = super::canaries::request(&mut dice, n, &[]);
        body["max_tokens"] = 1.into();
        let wish = ["auto", "smollm2"][dice.roll(2) as usize];
        body["model"] = wish.into();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let told = gateway.tell_with(&body, &headers).await;
        let hosted = headers.contains(&("x-sluice-route", "hosted"));
        assert!(if hosted { [403, 422, 503].contains(&told.status) } else { told.status == 200 }, "{}", told.text());
        local += usize::from(told.header("x-sluice-route") == Some("local"));
    }
    assert!(local > asked / 2, "{local} of {asked}");
    assert_eq!(gateway.api("/api/residency").await["mode"], "offline");
}

#[test]
fn what_would_have_to_be_fetched_or_dialled_is_refused_at_the_start() {
    let absent = HOUSE.replace("smollm2-135m", "hf:nobody/nothing");
    let hosted = format!("{HOUSE}[providers.out]\nkind = \"openai\"\nregion = \"eu\"\n");
    let collector = format!("{HOUSE}[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\n");
    for (rest, why) in [(absent, "not on disk"), (hosted, "providers.out"), (collector, "otlp_endpoint")] {
        let folder = folder(&rest);
        let output = run(folder.path(), &["check"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.contains(why)), (Some(64), true), "{why}: {said}");
    }
}
