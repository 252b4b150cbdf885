//! What happens to a loop head, as one pure function: the hook tells what it saw, this says what to do.
//!
//! ```text
//! Cold --counted--> Warm --counted--> Recording --closed--> Compiled --does not pay--> Shunned
//!                     ^                  | aborted              |
//!                     +---- back-off ----+      idle, or evicted +--> Cold
//! ```
//!
//! Time is a second input: [`tick`] halves what was counted, settles compiled loops that no longer grow, and discards
//! those that were not entered for long.

/// Where a loop head stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Cold,
    Warm,
    Recording,
    Compiled,
    /// Left to the interpreter for good.
    Shunned,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Cold => "cold",
            State::Warm => "warm",
            State::Recording => "recording",
            State::Compiled => "compiled",
            State::Shunned => "shunned",
        }
    }
}

/// One loop head's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub state: State,
    /// Interpreted iterations since the last change of state.
    pub count: u32,
    /// Recordings that failed.
    pub aborts: u32,
    /// Ticks since the compiled loop was last entered.
    pub idle: u8,
    /// Recordings that met an iteration unlike the others, since the last failure.
    pub missed: u32,
}

impl Head {
    pub const NEW: Head = Head {
        state: State::Cold,
        count: 0,
        aborts: 0,
        idle: 0,
        missed: 0,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interpreter took the back edge.
    BackEdge,
    Closed,
    Aborted,
    /// This iteration was no good as a trace; the next one may be.
    Missed,
    /// Entering the trace does not pay.
    Unprofitable,
    /// The trace was thrown away: unused for long, or over the limit.
    Discarded,
    /// The trace settled, and an exit became hot since: it is thrown away to be recorded anew.
    Reopened,
}

/// What time does to a compiled loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    /// It no longer grows: what it was compiled from can go.
    Settle,
    Discard,
}

/// Ticks without an entry after which a compiled loop is discarded.
pub const IDLE_MAX: u8 = 64;
/// Times a settled loop may be recorded anew; after that it keeps what it needs to grow.
pub const REOPEN_MAX: u8 = 3;

/// One tick passes; `used` says whether the compiled loop was entered since the last, `grown` whether it was compiled.
pub fn tick(head: Head, used: bool, grown: bool) -> (Head, Fate) {
    match head.state {
        State::Cold | State::Warm => {
            let count = head.count / 2;
            let state = if count == 0 { State::Cold } else { head.state };
            (Head { state, count, ..head }, Fate::Keep)
        }
        State::Compiled => {
            let idle = if used || grown { 0 } else { head.idle.saturating_add(1) };
            let fate = match idle {
                _ if grown => Fate::Keep,
                IDLE_MAX.. => Fate::Discard,
                _ => Fate::Settle,
            };
            (Head { idle, ..head }, fate)
        }
        State::Recording | State::Shunned => (head, Fate::Keep),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Record,
    /// Stop asking about this back edge.
    Disable,
}

/// The thresholds; tests and fuzzers lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub warm: u32,
    pub hot: u32,
    pub aborts: u32,
    /// Times an exit is taken before it grows a side trace.
    pub side: u32,
    /// Iterations counted for a loop that will not be traced, before counting stops.
    pub counted: u32,
    /// Whether hot loops are recorded at all.
    pub record: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            warm: 8,
            hot: 40,
            aborts: 3,
            side: 16,
            counted: 10_000,
            record: false,
        }
    }
}

/// Iterations looked at in a row before a recording counts as failed.
const MISSES: u32 = 24;

/// The next state and what to do now.
pub fn step(head: Head, event: Event, limits: &Limits) -> (Head, Action) {
    let Head {
        state,
        count,
        aborts,
        missed,
        ..
    } = head;
    let at = |state, count| Head {
        state,
        count,
        aborts,
        idle: 0,
        missed: 0,
    };
    if (state, event) == (State::Recording, Event::Missed) && missed < MISSES {
        let count = (limits.hot << aborts.min(16)).saturating_sub(1);
        let missed = missed + 1;
        return (
            Head {
                missed,
                ..at(State::Warm, count)
            },
            Action::Nothing,
        );
    }
    match (state, event) {
        (State::Shunned, _) => (at(State::Shunned, count), Action::Disable),
        (State::Cold, Event::BackEdge) => {
            let state = if count + 1 >= limits.warm {
                State::Warm
            } else {
                State::Cold
            };
            (at(state, count + 1), Action::Nothing)
        }
        (State::Warm, Event::BackEdge) => {
            let count = count.saturating_add(1);
            // Every failed attempt doubles the distance to the next.
            if limits.record && count >= limits.hot << aborts.min(16) {
                (
                    Head {
                        missed,
                        ..at(State::Recording, 0)
                    },
                    Action::Record,
                )
            } else if !limits.record && count >= limits.counted {
                (at(State::Warm, count), Action::Disable)
            } else {
                (at(State::Warm, count), Action::Nothing)
            }
        }
        (State::Recording, Event::Closed) => (at(State::Compiled, 0), Action::Nothing),
        (State::Recording, Event::Aborted | Event::Missed) => {
            let aborts = aborts + 1;
            let then = |state| Head { aborts, ..at(state, 0) };
            if aborts >= limits.aborts {
                (then(State::Shunned), Action::Disable)
            } else {
                (then(State::Warm), Action::Nothing)
            }
        }
        (State::Compiled, Event::Unprofitable) => (at(State::Shunned, 0), Action::Disable),
        (State::Compiled, Event::Discarded) => (at(State::Cold, 0), Action::Nothing),
        // Hot already: the next back edge records.
        (State::Compiled, Event::Reopened) => (at(State::Warm, limits.hot << aborts.min(16)), Action::Nothing),
        // An interpreted iteration of a compiled loop: its entry checks failed this time.
        (State::Compiled, Event::BackEdge) => {
            let count = count.saturating_add(1);
            (Head { count, ..head }, Action::Nothing)
        }
        (State::Recording, Event::BackEdge | Event::Unprofitable | Event::Discarded | Event::Reopened)
        | (
            State::Cold | State::Warm,
            Event::Closed | Event::Aborted | Event::Missed | Event::Unprofitable | Event::Discarded | Event::Reopened,
        )
        | (State::Compiled, Event::Closed | Event::Aborted | Event::Missed) => (head, Action::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(limits: &Limits, events: &[(Event, u32)]) -> (Head, Action) {
        let mut last = (Head::NEW, Action::Nothing);
        for (event, times) in events {
            for _ in 0..*times {
                last = step(last.0, *event, limits);
            }
        }
        last
    }

    #[test]
    fn a_loop_is_recorded_exactly_when_it_becomes_hot() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        assert_eq!(run(&limits, &[(Event::BackEdge, 39)]).1, Action::Nothing);
        assert_eq!(
            run(&limits, &[(Event::BackEdge, 40)]),
            (
                Head {
                    state: State::Recording,
                    ..Head::NEW
                },
                Action::Record
            )
        );
    }

    #[test]
    fn a_failed_recording_doubles_the_wait_and_the_third_shuns_the_loop() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        let once = [(Event::BackEdge, 40), (Event::Aborted, 1)];
        let (head, _) = run(&limits, &[once[0], once[1], (Event::BackEdge, 79)]);
        assert_eq!((head.state, head.aborts), (State::Warm, 1));
        let twice = [
            once[0],
            once[1],
            (Event::BackEdge, 80),
            (Event::Aborted, 1),
            (Event::BackEdge, 160),
        ];
        assert_eq!(run(&limits, &twice).1, Action::Record);
        let (head, action) = run(&limits, &[&twice[..], &[(Event::Aborted, 1)]].concat());
        assert_eq!((head.state, action), (State::Shunned, Action::Disable));
    }

    #[test]
    fn an_unlucky_iteration_is_followed_by_the_next_until_there_were_too_many() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        let first = [(Event::BackEdge, 40), (Event::Missed, 1), (Event::BackEdge, 1)];
        assert_eq!(run(&limits, &first).1, Action::Record);
        let mut many = vec![(Event::BackEdge, 40)];
        for _ in 0..MISSES {
            many.extend([(Event::Missed, 1), (Event::BackEdge, 1)]);
        }
        assert_eq!(run(&limits, &many).1, Action::Record);
        many.push((Event::Missed, 1));
        let (head, _) = run(&limits, &many);
        assert_eq!((head.state, head.aborts, head.count), (State::Warm, 1, 0));
    }

    #[test]
    fn without_recording_the_count_stops_at_its_limit() {
        let limits = Limits::default();
        assert_eq!(run(&limits, &[(Event::BackEdge, 9_999)]).1, Action::Nothing);
        assert_eq!(run(&limits, &[(Event::BackEdge, 10_000)]).1, Action::Disable);
    }

    #[test]
    fn a_discarded_trace_can_be_recorded_again() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        let life = [
            (Event::BackEdge, 40),
            (Event::Closed, 1),
            (Event::Discarded, 1),
            (Event::BackEdge, 40),
        ];
        assert_eq!(run(&limits, &life).1, Action::Record);
    }

    #[test]
    fn counts_fade_and_a_loop_that_nobody_enters_is_discarded() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        // A loop that goes round twelve times between ticks never gets hot.
        let mut head = Head::NEW;
        for _ in 0..50 {
            for _ in 0..12 {
                let (next, action) = step(head, Event::BackEdge, &limits);
                assert_eq!(action, Action::Nothing);
                head = next;
            }
            head = tick(head, false, false).0;
        }
        let (mut head, _) = run(&limits, &[(Event::BackEdge, 40), (Event::Closed, 1)]);
        assert_eq!(tick(head, false, true).1, Fate::Keep);
        for _ in 1..IDLE_MAX {
            let (next, fate) = tick(head, false, false);
            assert_eq!(fate, Fate::Settle);
            head = next;
        }
        assert_eq!(tick(head, true, false).0.idle, 0, "an entry makes it young again");
        assert_eq!(tick(head, false, false).1, Fate::Discard);
    }

    #[test]
    fn a_settled_loop_with_a_hot_exit_is_recorded_at_the_next_back_edge() {
        let limits = Limits {
            record: true,
            ..Limits::default()
        };
        let life = [
            (Event::BackEdge, 40),
            (Event::Closed, 1),
            (Event::Reopened, 1),
            (Event::BackEdge, 1),
        ];
        assert_eq!(run(&limits, &life).1, Action::Record);
    }
}
