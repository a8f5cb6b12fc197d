//! PostgreSQL: where there are replicas.
//!
//! **Promise.** A [`Session`] connects when it is first asked, and again after its connection was lost. What is
//! [`put`](Session::put) within a transaction goes out with its end, all at once and in order, so that a group of any size
//! takes one round trip.
//!
//! **Failure behaviour.** Whoever does not answer in time is given up, and the connection with it: a server behind a cut
//! cable must not stop the writer for ever. A line gets as long as reaching the server does ([`Patience::Short`]), so that
//! a request knows after twice that time at most that it may not be dialled. That is [`LedgerError::Unreachable`]; whether the last transaction was
//! committed is not known then, which is why every line can be written twice.
//!
//! **What it does not do.** It cannot live behind a pooler that shares connections between transactions: prepared statements
//! and the name of the instance belong to the connection.

use super::place::Server;
use super::{Cell, Patience, Row};
use crate::ledger::LedgerError;
use futures::{TryStreamExt, poll};
use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio_postgres::{Client, Statement};

/// How long a statement may take that looks at more than a line.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a question about everything there is may take.
const LONG_ANSWER: Duration = Duration::from_secs(120);
/// Statements that are kept prepared. There are about fifty texts; those with lists in them are more.
const PREPARED: usize = 128;

/// A connection, or what is needed to make one.
pub(in crate::ledger) struct Session {
    server: Arc<Server>,
    client: Option<Client>,
    statements: HashMap<String, Statement>,
    /// What a fresh connection is told first.
    greeting: String,
    instance: String,
    patience: Duration,
    /// The last connection that was wanted was there, or was made.
    reached: bool,
    /// Of the transaction that runs: what was not sent yet.
    pending: Vec<(Statement, Vec<Kept>)>,
    transaction: Transaction,
}

/// Where a transaction stands.
#[derive(Clone, Copy, PartialEq)]
enum Transaction {
    None,
    /// Its beginning goes out with the first statement.
    Wanted,
    Open,
}

/// A value that outlives its statement's call.
enum Kept {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;

// === impl Kept ===

impl Kept {
    fn of(cell: &Cell<'_>) -> Self {
        match *cell {
            Cell::Null => Self::Null,
            Cell::Int(number) => Self::Int(number),
            Cell::Real(number) => Self::Real(number),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Int(number) => Cell::Int(*number),
            Self::Real(number) => Cell::Real(*number),
            Self::Text(text) => Cell::Text(text),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

// === impl Session ===

impl Session {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            client: None,
            statements: HashMap::new(),
            greeting: String::new(),
            instance: String::new(),
            patience: ANSWER,
            reached: true,
            pending: Vec::new(),
            transaction: Transaction::None,
        }
    }

    /// What every connection is told from now on, this one included: settings of the session.
    pub(in crate::ledger) fn greet(&mut self, greeting: String) -> Result<(), LedgerError> {
        self.greeting = greeting;
        if self.client.is_some() {
            let greeting = self.greeting.clone();
            return self.batch(&greeting);
        }
        Ok(())
    }

    /// The instance that lines are opened by, on this connection and on later ones; not within a transaction, whose end
    /// could take it back.
    pub(in crate::ledger) fn name(&mut self, instance: &str) {
        self.instance = instance.to_owned();
        let setting = self.setting();
        if self.client.is_some() && self.batch(&setting).is_err() {
            // The next connection is told.
            self.forget();
        }
    }

    pub(super) fn be(&mut self, patience: Patience) {
        self.patience = match patience {
            Patience::Short => self.server.reach,
            Patience::Usual => ANSWER,
            Patience::Long => LONG_ANSWER,
        };
    }

    pub(super) fn was_reached(&self) -> bool {
        self.reached
    }

    /// See [`Session::name`].
    pub(in crate::ledger) fn instance(&self) -> &str {
        &self.instance
    }

    fn setting(&self) -> String {
        // Letters and digits, made here.
        format!("SET sluice.instance = '{}';", self.instance)
    }

    fn connected(&mut self) -> Result<(), LedgerError> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        self.forget();
        self.reached = false;
        let runtime = self.server.runtime()?;
        // A paused process must not keep its locks: the server ends its transaction.
        let settings = "SET timezone = 'UTC'; SET client_min_messages = 'warning'; \
                        SET idle_in_transaction_session_timeout = '10s';";
        let hello = format!("{settings} {} {}", self.greeting, self.setting());
        let connecting = async {
            let connecting = self.server.config.connect(self.server.tls.clone()).await;
            let (client, connection) = connecting.map_err(|error| LedgerError::Unreachable(told(&error)))?;
            // It ends with its client; what it fails with, the client's calls say.
            runtime.spawn(async move { drop(connection.await) });
            client.batch_execute(&hello).await.map_err(error)?;
            Ok::<_, LedgerError>(client)
        };
        let connected = runtime.block_on(async { tokio::time::timeout(self.server.reach, connecting).await });
        self.client = Some(connected.map_err(|_| silent())??);
        self.reached = true;
        Ok(())
    }

    fn forget(&mut self) {
        self.client = None;
        self.statements.clear();
        self.pending.clear();
        self.transaction = Transaction::None;
    }

    /// Does something with the connection, which is given up where it is lost.
    fn with<T>(&mut self, work: impl AsyncFnOnce(&Client) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let Some(client) = &self.client else {
            return Err(LedgerError::Unreachable("the connection was lost".into()));
        };
        let done = self.server.runtime()?.block_on(work(client));
        if matches!(done, Err(LedgerError::Unreachable(_))) {
            self.forget();
        }
        done
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, LedgerError> {
        if !self.in_transaction() {
            self.connected()?;
        }
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let patience = self.patience;
        let text = places(sql);
        let statement = self.with(async |client| within(patience, client.prepare(&text)).await)?;
        if self.statements.len() >= PREPARED {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn in_transaction(&self) -> bool {
        self.transaction != Transaction::None
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<usize, LedgerError> {
        let statement = self.prepared(sql)?;
        self.flush(false)?;
        let patience = self.patience;
        let rows = self.with(async |client| within(patience, client.execute_raw(&statement, values)).await)?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    pub(super) fn put(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<(), LedgerError> {
        if !self.in_transaction() {
            return self.execute(sql, values).map(drop);
        }
        let statement = self.prepared(sql)?;
        self.pending.push((statement, values.iter().map(Kept::of).collect()));
        Ok(())
    }

    pub(super) fn query<T>(
        &mut self,
        sql: &str,
        values: &[Cell<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
    ) -> Result<Vec<T>, LedgerError> {
        let alone = !self.in_transaction();
        let mut read = Vec::new();
        match self.rows(sql, values, &mut each, &mut read) {
            // The connection was dead already, which nobody noticed while nobody asked.
            Err(LedgerError::Unreachable(_)) if alone && read.is_empty() => self.rows(sql, values, each, &mut read)?,
            done => done?,
        }
        Ok(read)
    }

    fn rows<T>(
        &mut self,
        sql: &str,
        values: &[Cell<'_>],
        mut each: impl FnMut(&Row<'_>) -> Result<T, LedgerError>,
        read: &mut Vec<T>,
    ) -> Result<(), LedgerError> {
        let statement = self.prepared(sql)?;
        self.flush(false)?;
        let patience = self.patience;
        self.with(async |client| {
            let mut rows = pin!(within(patience, client.query_raw(&statement, values)).await?);
            while let Some(row) = within(patience, rows.try_next()).await? {
                read.push(each(&Row::Postgres(&row))?);
            }
            Ok(())
        })
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), LedgerError> {
        if !self.in_transaction() {
            self.connected()?;
        }
        self.flush(false)?;
        let patience = self.patience;
        self.with(async |client| within(patience, client.batch_execute(sql)).await)
    }

    pub(super) fn begin(&mut self) -> Result<(), LedgerError> {
        self.connected()?;
        self.pending.clear();
        self.transaction = Transaction::Wanted;
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), LedgerError> {
        let done = self.flush(true);
        self.transaction = Transaction::None;
        done
    }

    /// Undoes what was begun; a connection on which that fails is not used again.
    pub(super) fn rollback(&mut self) {
        self.pending.clear();
        let open = self.transaction == Transaction::Open;
        self.transaction = Transaction::None;
        let patience = self.patience;
        if open
            && self.client.is_some()
            && self.with(async |client| within(patience, client.batch_execute("ROLLBACK")).await).is_err()
        {
            self.forget();
        }
    }

    /// Sends the beginning of the transaction, what is pending, and the end behind it; waits for all of it.
    fn flush(&mut self, commit: bool) -> Result<(), LedgerError> {
        let pending = std::mem::take(&mut self.pending);
        let begin = self.transaction == Transaction::Wanted;
        if begin {
            self.transaction = Transaction::Open;
        }
        if pending.is_empty() && !commit && !begin {
            return Ok(());
        }
        let patience = self.patience;
        self.with(async |client| {
            let mut sent: Vec<Sent<'_>> = Vec::with_capacity(pending.len() + 2);
            if begin {
                sent.push(Box::pin(client.batch_execute("BEGIN")));
            }
            for (statement, values) in &pending {
                let cells: Vec<Cell<'_>> = values.iter().map(Kept::cell).collect();
                sent.push(Box::pin(async move { client.execute_raw(statement, cells).await.map(drop) }));
            }
            if commit {
                sent.push(Box::pin(client.batch_execute("COMMIT")));
            }
            let all = async {
                let mut early = Vec::with_capacity(sent.len());
                // The first look at each sends it: in order, before any answer is waited for.
                for future in &mut sent {
                    early.push(poll!(future.as_mut()));
                }
                let mut first = Ok(());
                for (future, early) in sent.iter_mut().zip(early) {
                    let done = match early {
                        Poll::Ready(done) => done,
                        Poll::Pending => future.await,
                    };
                    // Of what failed the first says why: what follows it fails because it did.
                    first = first.and(done);
                }
                first
            };
            within(patience, all).await
        })
    }
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, LedgerError> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer.map_err(error),
        Err(_) => Err(silent()),
    }
}

fn silent() -> LedgerError {
    LedgerError::Unreachable("the server does not answer".into())
}

/// What a server says of a statement is about the statement; everything else is about the connection.
pub(super) fn error(error: tokio_postgres::Error) -> LedgerError {
    match error.as_db_error() {
        // 57P: the server shuts down or ends the connection; 25P03: it ended a transaction that was idle too long; 40: it
        // undid one for another's sake. Each can be tried again.
        Some(said) if ["57P", "25P03", "40"].iter().any(|class| said.code().code().starts_with(class)) => {
            LedgerError::Unreachable(told(&error))
        }
        Some(_) => LedgerError::Database(told(&error)),
        None if error.is_closed()
            || std::error::Error::source(&error).is_some_and(|why| why.is::<std::io::Error>()) =>
        {
            LedgerError::Unreachable(told(&error))
        }
        None => LedgerError::Database(told(&error)),
    }
}

/// Without the values that a server may quote in its details.
fn told(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(why)) => format!("{error}: {why}"),
        (None, None) => error.to_string(),
    }
}

/// `?1` as PostgreSQL writes it.
fn places(sql: &str) -> String {
    sql.replace('?', "$")
}
