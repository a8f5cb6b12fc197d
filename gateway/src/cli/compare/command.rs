//! Unit tests by command: an answer is right when the command that gets it says so.
//!
//! **Promise.** The command gets the answer on standard input and ends within its time, or is ended with all that it started;
//! its exit status decides, 0 is right. Nothing that it prints counts.
//!
//! **Trust.** The command is the operator's own and runs with his rights. A command that *executes* what a model wrote has to
//! bring its own confinement.

use crate::cli::Failure;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Judges an answer.
///
/// # Errors
/// The command cannot be started.
pub async fn passes(
    line: &str,
    (row, tests, reference): (&str, Option<&str>, Option<&str>),
    answer: &str,
    at_most: Duration,
) -> Result<bool, Failure> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("SLUICE_ROW", row).process_group(0).kill_on_drop(true);
    command.envs(tests.map(|tests| ("SLUICE_TESTS", tests)));
    command.envs(reference.map(|reference| ("SLUICE_REFERENCE", reference)));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |what: std::io::Error| Failure::Failed(format!("row `{row}`: the command cannot be run: {what}"));
    let mut child = command.spawn().map_err(failed)?;
    let group = child.id();
    let run = async {
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input to the end is free to do so.
            let _ = input.write_all(answer.as_bytes()).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(at_most, run).await {
        Ok(status) => Ok(status.map_err(failed)?.success()),
        Err(_) => {
            if let Some(group) = group {
                // All that it started, too; what has ended meanwhile is none of our business.
                let _ = Command::new("sh").args(["-c", &format!("kill -9 -{group}")]).status().await;
            }
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_exit_status_decides_and_time_runs_out() {
        let run = async |line: &str, answer: &str| {
            passes(line, ("r", Some("42"), None), answer, Duration::from_secs(20)).await.unwrap()
        };
        assert!(run("grep -q 42", "it is 42").await);
        assert!(!run("grep -q 42", "it is 43").await);
        assert!(run("test \"$(cat)\" = \"$SLUICE_TESTS\"", "42").await);
        assert!(run("true", &"x".repeat(1 << 20)).await, "a command need not read");
        assert!(!run("no-such-command-anywhere", "").await);
    }

    #[tokio::test]
    async fn what_a_late_command_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let line = format!("sleep 600 & echo $! > '{}'; sleep 600", file.display());
        let late = passes(&line, ("r", None, None), "", Duration::from_secs(3)).await.unwrap();
        assert!(!late);
        let pid = std::fs::read_to_string(&file).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Gone, or waiting for somebody to take note of its end.
        let over = |state: &str| state.is_empty() || state.contains(") Z ") || state.contains(") X ");
        for _ in 0..2_000 {
            if over(&state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it still runs: {}", state());
    }
}
