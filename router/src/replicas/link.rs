//! A thread with a connection to Redis.
//!
//! **Promise.** Whoever asks waits without blocking; questions are asked one after the other, each once. One that was not
//! answered within [`ANSWER`] is given up together with the connection: whether it was carried out nobody knows then, so
//! every question has to bear being carried out unheard.

use super::Unanswered;
use redis::{Client, Connection};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a question may take, and how long a connection may take to be made.
const ANSWER: Duration = Duration::from_secs(1);
/// After a failure nobody is dialled for so long: those who wait are told at once, not one after the other.
const PAUSE: Duration = Duration::from_millis(300);
/// Questions that wait; there is one a request at most, and requests in flight are bounded.
const WAITING: usize = 4_096;

type Question = Box<dyn FnOnce(&mut Line) + Send>;

/// A handle; the thread ends with the last one.
#[derive(Clone)]
pub(super) struct Link {
    questions: SyncSender<Question>,
}

/// The thread's side.
pub(super) struct Line {
    client: Client,
    connection: Option<Connection>,
    /// When it failed last, and how.
    failed: Option<(Instant, Unanswered)>,
}

// === impl Link ===

impl Link {
    pub(super) fn start(client: Client, name: &str) -> Result<Self, std::io::Error> {
        let (questions, asked) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || answer(&asked, Line { client, connection: None, failed: None }))?;
        Ok(Self { questions })
    }

    /// Asks something.
    ///
    /// # Cancel safety
    /// A dropped future's question is asked all the same.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection) -> redis::RedisResult<T> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (told, answer) = oneshot::channel();
        let question = Box::new(move |line: &mut Line| {
            // Whoever does not listen any longer has no use for it.
            let _ = told.send(line.ask(question));
        });
        match self.questions.try_send(question) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(Unanswered("the thread has ended".into()))),
            Err(TrySendError::Full(_)) => Err(Unanswered("too many questions wait".into())),
            Err(TrySendError::Disconnected(_)) => Err(Unanswered("the thread has ended".into())),
        }
    }
}

impl Link {
    /// Asks something whose answer nobody needs; where too many wait it is not asked.
    pub(super) fn tell<T>(&self, question: impl FnOnce(&mut Connection) -> redis::RedisResult<T> + Send + 'static) {
        let question = Box::new(move |line: &mut Line| {
            if let Err(error) = line.ask(question) {
                tracing::debug!(error = %error, "the store was not told");
            }
        });
        if self.questions.try_send(question).is_err() {
            tracing::debug!("too many questions wait: the store was not told");
        }
    }
}

fn answer(asked: &Receiver<Question>, mut line: Line) {
    while let Ok(question) = asked.recv() {
        question(&mut line);
    }
}

// === impl Line ===

impl Line {
    fn ask<T>(&mut self, question: impl FnOnce(&mut Connection) -> redis::RedisResult<T>) -> Result<T, Unanswered> {
        if let Some((at, failure)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(failure.clone());
        }
        let done =
            self.connected().and_then(|connection| question(connection).map_err(|error| Unanswered(told(&error))));
        self.failed = done.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        if done.is_err() {
            // After a timeout the next answer would be this question's.
            self.connection = None;
        }
        done
    }

    fn connected(&mut self) -> Result<&mut Connection, Unanswered> {
        if let Some(connection) = self.connection.take() {
            return Ok(self.connection.insert(connection));
        }
        let fresh = self.client.get_connection_with_timeout(ANSWER).and_then(|connection| {
            connection.set_read_timeout(Some(ANSWER))?;
            connection.set_write_timeout(Some(ANSWER))?;
            Ok(connection)
        });
        Ok(self.connection.insert(fresh.map_err(|error| Unanswered(told(&error)))?))
    }
}

fn told(error: &redis::RedisError) -> String {
    error.to_string()
}
