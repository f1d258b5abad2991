//! Acting on signals: what each changes of what is asked for.

use model::lsn::Lsn;
use serde_json::json;

use super::{
    AdHoc,
    channels::Arrival,
    signal::{Action, Signal},
    state::QueuedTable,
};
use crate::{
    error::RelayError,
    postgres::{PgError, catalog},
    session::Session,
};

impl AdHoc {
    /// Acts on signals of the stream. To be called before the position beyond them is stored.
    ///
    /// # Errors
    /// When a server cannot be asked.
    pub async fn attend(&mut self, session: &mut Session, streamed: Lsn) -> Result<(), RelayError> {
        while let Some(signal) = self.inbox.pop_front() {
            match signal {
                Ok(signal) => drop(self.act(signal, session, streamed).await?),
                Err(error) => tracing::warn!("a signal is not acted on: {error}"),
            }
        }
        Ok(())
    }

    /// Takes a signal that came by a channel.
    pub(super) async fn take(
        &mut self,
        arrival: Arrival,
        session: &mut Session,
        streamed: Lsn,
    ) -> Result<(), RelayError> {
        match arrival {
            Arrival::Topic { signal, next } => {
                (self.state.topic_next, self.unstored) = (Some(next), true);
                match signal {
                    Ok(signal) => drop(self.act(signal, session, streamed).await?),
                    Err(error) => tracing::warn!("a signal of the topic is not acted on: {error}"),
                }
            }
            Arrival::Rest { message } => {
                if message.given_up() {
                    return Ok(());
                }
                let id = uuid::Uuid::now_v7().to_string();
                match Signal::from_json(&message.body, &id) {
                    Ok(signal) => {
                        let id = signal.id.clone();
                        let tables = self.act(signal, session, streamed).await?;
                        self.unstored = true;
                        self.unanswered.push((message, json!({ "id": id, "data-collections": tables })));
                    }
                    Err(error) => message.answer(Err(error.to_string())),
                }
            }
        }
        Ok(())
    }

    /// Does what a signal asks, as far as that is a change of what is asked for. Returns the tables it is about.
    async fn act(&mut self, signal: Signal, session: &mut Session, at: Lsn) -> Result<Vec<String>, RelayError> {
        let Signal { id, action } = signal;
        tracing::info!(signal = id, position = %at, "signal: {action:?}");
        let mut tables = Vec::new();
        match action {
            Action::Incremental(request) => {
                tables = captured_tables(session).await?;
                tables.retain(|name| request.takes(name));
                let queued = tables.iter().map(|name| QueuedTable {
                    name: name.clone(),
                    filter: request.filter(name).map(str::to_owned),
                    surrogate_key: request.surrogate_key.clone(),
                });
                self.state.enqueue(&id, queued);
                warn_of_nothing(&id, &tables);
            }
            Action::Blocking(request) => {
                tables = captured_tables(session).await?;
                tables.retain(|name| request.takes(name));
                warn_of_nothing(&id, &tables);
                if !tables.is_empty() {
                    self.state.blocking.push(request);
                }
            }
            Action::Stop(expressions) => {
                tables = self.state.tables.iter().map(|table| table.name.clone()).collect();
                if self.state.stop(&expressions) {
                    self.leave_table();
                }
                tables.retain(|name| self.state.tables.iter().all(|table| table.name != *name));
            }
            Action::Pause => self.state.paused = !self.state.tables.is_empty(),
            Action::Resume => self.state.paused = false,
            Action::Log(message) => tracing::info!(signal = id, "{}", message.replace("{}", &at.to_string())),
            Action::Nothing => {}
        }
        self.unstored = true;
        self.report(session);
        Ok(tables)
    }
}

fn warn_of_nothing(id: &str, tables: &[String]) {
    if tables.is_empty() {
        tracing::warn!(signal = id, "no captured table matches the signal's data-collections");
    }
}

/// Names of the published tables that the lists let through.
async fn captured_tables(session: &mut Session) -> Result<Vec<String>, RelayError> {
    let asked = |error: PgError| RelayError::postgres(&session.settings.target, "look at the publication", &error);
    let tables = catalog::published_tables(&mut session.control, &session.settings.publication).await.map_err(asked)?;
    let settings = &session.settings;
    let captured = tables.into_iter().filter(|table| {
        settings.tables.includes(&table.schema, &table.name) && !settings.signals.listens_to(&table.schema, &table.name)
    });
    Ok(captured.map(|table| format!("{}.{}", table.schema, table.name)).collect())
}
