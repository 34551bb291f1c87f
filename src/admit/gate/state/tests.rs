use super::*;

fn failure(class: Class) -> Failure {
    Failure::new(class, "test")
}

fn status(class: Class, status: u16) -> Failure {
    Failure {
        status: Some(status),
        ..failure(class)
    }
}

fn retry_after(secs: u64) -> Failure {
    Failure {
        retry_after: Some(Duration::from_secs(secs)),
        ..failure(Class::Throttled)
    }
}

struct Rig {
    state: State,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        Self {
            state: State::default(),
            now: Instant::now(),
        }
    }
    fn fail(&mut self, failure: &Failure, flow: &str) -> Ruling {
        self.state
            .observe(Observed::Failed(failure), Some(flow), false, self.now)
    }
    fn pass(&mut self, flow: &str) {
        self.state
            .observe(Observed::Passed(self.now), Some(flow), false, self.now);
    }
    fn probe(&mut self, what: Observed<'_>, flow: &str) -> Ruling {
        self.state.observe(what, Some(flow), true, self.now)
    }
    fn stance(&self) -> Stance {
        self.state.stance(self.now)
    }
    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}

#[test]
fn one_429_closes_until_the_time_named_and_not_a_moment_longer() {
    let mut rig = Rig::new();
    rig.fail(&retry_after(20), "a");
    rig.fail(&retry_after(3), "a");
    assert_eq!(
        rig.stance(),
        Stance::Hold {
            until: rig.now + Duration::from_secs(20)
        }
    );
    rig.wait(20);
    assert_eq!(rig.stance(), Stance::Open);
}

#[test]
fn a_closure_of_hours_sends_everything_back_and_begins_again_shortly_before() {
    let mut rig = Rig::new();
    rig.fail(&retry_after(7200), "a");
    let until = rig.now + Duration::from_secs(7200);
    assert_eq!(
        rig.stance(),
        Stance::Away {
            until: until - HEAD_START
        }
    );
    rig.wait(7198);
    assert_eq!(rig.stance(), Stance::Hold { until });
    rig.wait(2);
    assert_eq!(rig.stance(), Stance::Open);
}

#[test]
fn a_429_that_names_no_time_backs_off() {
    let mut rig = Rig::new();
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        rig.fail(&failure(Class::Throttled), "a");
        assert_eq!(
            rig.stance(),
            Stance::Hold {
                until: rig.now + Duration::from_secs(pause)
            }
        );
        rig.wait(pause);
    }
    rig.pass("a");
    rig.fail(&failure(Class::Throttled), "a");
    assert_eq!(
        rig.stance(),
        Stance::Hold {
            until: rig.now + Duration::from_secs(1)
        }
    );
}

#[test]
fn one_unreachable_or_five_wobbles_are_an_outage() {
    let mut rig = Rig::new();
    rig.fail(&failure(Class::Unreachable), "a");
    assert_ne!(rig.stance(), Stance::Open);
    for class in [Class::Transient, Class::Unknown] {
        let mut rig = Rig::new();
        for _ in 0..4 {
            rig.fail(&failure(class), "a");
        }
        rig.pass("b");
        for _ in 0..4 {
            rig.fail(&failure(class), "a");
            assert_eq!(rig.stance(), Stance::Open);
        }
        rig.fail(&failure(class), "a");
        assert_ne!(rig.stance(), Stance::Open);
    }
}

#[test]
fn in_an_outage_one_tries_with_growing_pauses_and_another_flow_and_one_success_opens() {
    let mut rig = Rig::new();
    rig.fail(&failure(Class::Unreachable), "a");
    for pause in [1, 2, 4, 8, 15, 15] {
        assert_eq!(
            rig.stance(),
            Stance::Hold {
                until: rig.now + Duration::from_secs(pause)
            }
        );
        rig.wait(pause);
        assert_eq!(
            rig.stance(),
            Stance::Probe(Probe::Job {
                avoid: vec!["a".into()],
                fetch: false
            })
        );
        // Stragglers say nothing.
        rig.fail(&failure(Class::Unreachable), "b");
        rig.probe(Observed::Failed(&failure(Class::Unreachable)), "a");
    }
    rig.wait(15);
    rig.probe(Observed::Passed(rig.now), "c");
    assert_eq!(rig.stance(), Stance::Open);
}

#[test]
fn an_answer_that_decides_ends_an_outage() {
    for answer in [
        status(Class::Refused, 404),
        status(Class::Forbidden, 403),
        retry_after(0),
    ] {
        let mut rig = Rig::new();
        rig.fail(&failure(Class::Unreachable), "a");
        rig.wait(1);
        rig.probe(Observed::Failed(&answer), "a");
        assert_eq!(rig.stance(), Stance::Open, "{answer}");
    }
}

#[test]
fn ten_forbidden_or_twenty_refused_in_a_row_halt_and_those_under_way_are_given_back() {
    for (answer, most) in [(status(Class::Forbidden, 403), 10), (status(Class::Refused, 404), 20)] {
        let mut rig = Rig::new();
        rig.fail(&answer, "a");
        rig.pass("b");
        for _ in 0..most {
            assert_eq!(rig.stance(), Stance::Open);
            assert_eq!(rig.fail(&answer, "a"), Ruling::Ordinary);
        }
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: rig.now + PROBE_EVERY
            }
        );
        assert_eq!(rig.fail(&answer, "a"), Ruling::GiveBack);
        rig.wait(30);
        assert_eq!(
            rig.stance(),
            Stance::Probe(Probe::Job {
                avoid: vec!["a".into()],
                fetch: true
            })
        );
        assert_eq!(rig.probe(Observed::Failed(&answer), "b"), Ruling::GiveBack);
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: rig.now + PROBE_EVERY
            }
        );
        rig.wait(30);
        let avoid = vec!["a".into(), "b".into()];
        assert_eq!(rig.stance(), Stance::Probe(Probe::Job { avoid, fetch: true }));
        rig.probe(Observed::Passed(rig.now), "c");
        assert_eq!(rig.stance(), Stance::Open);
    }
}

#[test]
fn a_launch_that_was_under_way_at_the_first_refusal_does_not_begin_the_count_anew() {
    let mut rig = Rig::new();
    let sent = rig.now;
    rig.wait(1);
    for _ in 0..HALT_AFTER_FORBIDDEN {
        assert_eq!(rig.stance(), Stance::Open);
        rig.fail(&status(Class::Forbidden, 403), "a");
        rig.state.observe(Observed::Passed(sent), Some("b"), false, rig.now);
    }
    assert_ne!(rig.stance(), Stance::Open);
    rig.wait(1);
    rig.pass("c");
    assert_eq!(rig.stance(), Stance::Open, "one that was sent since is news");
}

#[test]
fn refused_credentials_halt_at_once_and_only_a_probe_ends_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.fail(&failure(Class::Unauthorized), "a"), Ruling::GiveBack);
    rig.pass("straggler");
    assert_eq!(
        rig.stance(),
        Stance::Away {
            until: rig.now + PROBE_EVERY
        }
    );
    rig.wait(30);
    assert_eq!(rig.stance(), Stance::Probe(Probe::Credentials));
    rig.probe(Observed::Passed(rig.now), "a");
    assert_eq!(rig.stance(), Stance::Open);
}

#[test]
fn redirects_halt_at_once_and_pages_in_place_of_answers_after_five() {
    let mut rig = Rig::new();
    assert_eq!(rig.fail(&status(Class::Misdirected, 302), "a"), Ruling::GiveBack);
    assert_eq!(
        rig.stance(),
        Stance::Away {
            until: rig.now + PROBE_EVERY
        }
    );
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.fail(&status(Class::Unknown, 200), "a");
    }
    assert_eq!(rig.stance(), Stance::Open);
    rig.fail(&status(Class::Unknown, 200), "a");
    assert_eq!(
        rig.stance(),
        Stance::Away {
            until: rig.now + PROBE_EVERY
        }
    );
    assert_eq!(
        rig.probe(Observed::Failed(&status(Class::Unknown, 200)), "a"),
        Ruling::GiveBack
    );
}

#[test]
fn a_broken_flow_among_good_ones_slows_nobody() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        for _ in 0..4 {
            rig.fail(&status(Class::Unknown, 500), "broken");
        }
        rig.pass("good");
        assert_eq!(rig.stance(), Stance::Open);
    }
}

#[test]
fn a_flow_known_to_be_broken_is_no_outage_while_others_are_launched() {
    let mut rig = Rig::new();
    let broken = status(Class::Unknown, 500);
    for _ in 0..4 {
        rig.pass("good");
        rig.fail(&broken, "broken");
    }
    // A hundred in a row, as when its retries stand at the end of a lane together.
    rig.pass("good");
    for _ in 0..100 {
        rig.fail(&broken, "broken");
    }
    assert_eq!(rig.stance(), Stance::Open);
    // But when nobody has been launched for a second, it may be the API after all.
    rig.wait(1);
    for _ in 0..5 {
        assert_eq!(rig.stance(), Stance::Open);
        rig.fail(&broken, "broken");
    }
    assert_ne!(rig.stance(), Stance::Open);
}

#[test]
fn a_flow_that_was_launched_is_not_known_to_be_broken_any_more() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.pass("good");
        rig.fail(&status(Class::Transient, 503), "mended");
    }
    rig.pass("mended");
    for _ in 0..5 {
        assert_eq!(rig.stance(), Stance::Open);
        rig.fail(&status(Class::Transient, 503), "mended");
    }
    assert_ne!(rig.stance(), Stance::Open);
}

#[test]
fn a_throttled_token_endpoint_is_no_flows_own_fault() {
    let mut rig = Rig::new();
    let login = Failure {
        from_login: true,
        ..retry_after(5)
    };
    for _ in 0..10 {
        rig.pass("b");
        assert_eq!(rig.fail(&login, "a"), Ruling::Ordinary);
        assert_ne!(rig.stance(), Stance::Open);
        rig.wait(5);
    }
}
