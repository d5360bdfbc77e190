//! Random histories of failures, elections and lost words, by the virtual clock: whatever happens,
//! no message is claimed twice, and none is sent in a term that did not claim it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trireme_proto::id::{ChannelId, IncidentId, NoticeId};
use trireme_proto::time::Span;

use super::bench::{AT_ONCE, Bench, channels};
use crate::state::alert::{AlertStep, NoticeState};
use crate::state::{Body, Outcome};

/// What befalls a fleet.
#[derive(Debug, Clone)]
enum Event {
    /// A node's check fails, or passes again.
    Check { node: usize, fails: bool },
    /// Time passes with a leader who looks.
    Pass { seconds: u64 },
    /// Another leader is elected; what the old one had sent may not be recorded yet.
    Elect,
    /// What became of messages is committed, maybe by a leader that leads no more.
    Settle { delivered: bool },
    /// A command of an old leader arrives late, once more.
    Late,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..6_usize, any::<bool>()).prop_map(|(node, fails)| Event::Check { node, fails }),
        4 => (1..400_u64).prop_map(|seconds| Event::Pass { seconds }),
        1 => Just(Event::Elect),
        2 => any::<bool>().prop_map(|delivered| Event::Settle { delivered }),
        1 => Just(Event::Late),
    ]
}

/// What an outside observer has seen claimed and sent.
#[derive(Default)]
struct Observer {
    /// Incidents, by channel and number of the message; 0 is its end.
    claimed: BTreeSet<(IncidentId, ChannelId, u32)>,
    sent: BTreeMap<NoticeId, u64>,
    notifies: Vec<AlertStep>,
}

impl Observer {
    fn look(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        let fresh: Vec<_> = bench
            .fleet
            .alerts
            .notices
            .iter()
            .filter(|(id, _)| !self.sent.contains_key(*id))
            .collect();
        for (id, notice) in fresh {
            for (incident, nth) in &notice.incidents {
                let key = (*incident, notice.channel.clone(), *nth);
                prop_assert!(self.claimed.insert(key.clone()), "{:?} is claimed twice", key);
            }
            prop_assert_eq!(notice.term, bench.term, "{} is of a term that has ended", id);
            self.sent.insert(*id, notice.term);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// At most once for each (incident, message, channel), whoever leads and whatever is lost; and
    /// nothing stays claimed for ever.
    #[test]
    fn no_message_is_claimed_twice_in_any_history(events in prop::collection::vec(event(), 1..30)) {
        const NODES: [&str; 6] = ["aws-1", "aws-2", "aliyun-1", "aliyun-2", "gcp-1", "gcp-2"];
        let mut bench = Bench::new();
        bench.settles = false;
        bench.apply(&channels(&["hook", "chat"], AT_ONCE));
        let mut observer = Observer::default();
        for event in events {
            match event {
                Event::Check { node, fails } => {
                    bench.fails(NODES[node], if fails { &["health"] } else { &[] });
                }
                Event::Pass { seconds } => {
                    for _ in 0..4 {
                        bench.skip(Span::secs(seconds.div_ceil(4)));
                        observer.notifies.append(&mut bench.notifies);
                        observer.look(&bench)?;
                    }
                }
                Event::Elect => bench.elect(),
                Event::Settle { delivered } => {
                    let ids: Vec<_> = bench.fleet.alerts.notices.keys().copied().collect();
                    let state = if delivered {
                        NoticeState::Delivered
                    } else {
                        NoticeState::Failed("no".to_owned())
                    };
                    let outcomes = ids.into_iter().map(|id| (id, state.clone())).collect();
                    bench.command(Body::Alert { what: AlertStep::Settle { outcomes } });
                }
                Event::Late => {
                    if let Some(what) = observer.notifies.last().cloned() {
                        let outcome = bench.command(Body::Alert { what });
                        prop_assert!(matches!(outcome, Outcome::Refused(_)));
                    }
                }
            }
            observer.look(&bench)?;
        }
        // The next leader gives up what was left.
        bench.elect();
        bench.pass(Span::secs(10));
        let left = bench.fleet.alerts.notices.values().filter(|one| one.term < bench.term);
        for notice in left {
            prop_assert!(notice.state != NoticeState::Claimed, "{:?}", notice);
        }
    }
}
