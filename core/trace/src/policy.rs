//! What happens to a loop head, as one pure function: the hook tells what it saw, this says what to do.
//!
//! ```text
//! Cold --counted--> Warm --counted--> Recording --closed--> Compiled --does not pay--> Shunned
//!                     ^                  | aborted              |
//!                     +---- back-off ----+      decayed --------+--> Cold
//! ```

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
}

impl Head {
    pub const NEW: Head = Head {
        state: State::Cold,
        count: 0,
        aborts: 0,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interpreter took the back edge.
    BackEdge,
    Closed,
    Aborted,
    /// Entering the trace does not pay.
    Unprofitable,
    /// The trace was thrown away: unused for long, or over the limit.
    Discarded,
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
            counted: 10_000,
            record: false,
        }
    }
}

/// The next state and what to do now.
pub fn step(head: Head, event: Event, limits: &Limits) -> (Head, Action) {
    let Head { state, count, aborts } = head;
    let at = |state, count| Head { state, count, aborts };
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
                (at(State::Recording, 0), Action::Record)
            } else if !limits.record && count >= limits.counted {
                (at(State::Warm, count), Action::Disable)
            } else {
                (at(State::Warm, count), Action::Nothing)
            }
        }
        (State::Recording, Event::Closed) => (
            Head {
                state: State::Compiled,
                count: 0,
                aborts,
            },
            Action::Nothing,
        ),
        (State::Recording, Event::Aborted) => {
            let aborts = aborts + 1;
            if aborts >= limits.aborts {
                (
                    Head {
                        state: State::Shunned,
                        count: 0,
                        aborts,
                    },
                    Action::Disable,
                )
            } else {
                (
                    Head {
                        state: State::Warm,
                        count: 0,
                        aborts,
                    },
                    Action::Nothing,
                )
            }
        }
        (State::Compiled, Event::Unprofitable) => (at(State::Shunned, 0), Action::Disable),
        (State::Compiled, Event::Discarded) => (at(State::Cold, 0), Action::Nothing),
        // An interpreted iteration of a compiled loop: its entry checks failed this time.
        (State::Compiled, Event::BackEdge) => (at(State::Compiled, count.saturating_add(1)), Action::Nothing),
        (State::Recording, Event::BackEdge | Event::Unprofitable | Event::Discarded)
        | (State::Cold | State::Warm, Event::Closed | Event::Aborted | Event::Unprofitable | Event::Discarded)
        | (State::Compiled, Event::Closed | Event::Aborted) => (head, Action::Nothing),
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
                    count: 0,
                    aborts: 0
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
}
