//! The next step, from everything that may be found: each state is also one in which somebody died.
use controllers::certificates::{
    Certificates,
    authority::{Bundle, Pem, Step, shown, shown_once_told, told},
};
use rstest::rstest;

use crate::scene::{NAMESPACE, Scene, day};

fn served(scene: &Scene) -> &Pem {
    scene.stored.served.as_ref().expect("a pair")
}

fn next(scene: &Scene) -> &Pem {
    scene.stored.next.as_ref().expect("a pair")
}

/// Whether the authorities of one moment vouch for a pair.
fn vouches(bundle: &Bundle, pem: &Pem) -> bool {
    bundle.vouches(&pem.pair().expect("a pair"), NAMESPACE).is_ok()
}

fn promoted_when_the_old_authority_has_ended() -> Scene {
    Scene::promoted().at(day(366))
}

fn begun_with_another_that_does_not_know() -> Scene {
    let mut scene = Scene::begun().told();
    scene.carried[1] = Scene::first().carried.swap_remove(0);
    scene
}

fn begun_where_nothing_is_installed() -> Scene {
    Scene { carried: Vec::new(), ..Scene::begun() }
}

fn begun_by_a_clock_behind_ours() -> Scene {
    Scene::first().at(day(-300)).done(Step::Begin).at(day(100))
}

/// Everybody was told, and time has passed.
fn promoted_by_a_clock_ahead_of_ours(days: i64) -> Scene {
    Scene::first().at(day(days)).done(Step::Begin).told().done(Step::Promote).told().at(day(10))
}

fn lost_once_another_followed() -> Scene {
    Scene::begun().with(|data| drop((data.remove("tls.crt"), data.remove("tls.key"))))
}

#[rstest]
#[case::nothing_is_stored(Scene::empty(), Step::Anew)]
#[case::a_pair_is_new(Scene::first(), Step::Rest)]
#[case::a_pair_is_new_and_not_yet_told_of(Scene::empty().done(Step::Anew), Step::Rest)]
#[case::a_pair_is_not_old_enough(Scene::first().at(day(243)), Step::Rest)]
#[case::two_thirds_of_its_life_have_passed(Scene::first().at(day(244)), Step::Begin)]
#[case::nobody_was_told_of_the_next_authority(Scene::begun().unchanged_for(10_000), Step::Rest)]
#[case::one_configuration_does_not_carry_it(begun_with_another_that_does_not_know().unchanged_for(10_000), Step::Rest)]
#[case::api_servers_may_not_have_heard_of_it(Scene::begun().told().unchanged_for(299), Step::Rest)]
#[case::api_servers_have_heard_of_it(Scene::begun().told().unchanged_for(300), Step::Promote)]
#[case::there_is_no_configuration(begun_where_nothing_is_installed().unchanged_for(300), Step::Promote)]
#[case::the_next_one_was_not_promoted_for_months(Scene::begun().told().at(day(364)).unchanged_for(300), Step::Promote)]
#[case::the_old_authority_may_be_needed(Scene::promoted(), Step::Rest)]
#[case::the_old_authority_may_be_needed_to_its_last_day(Scene::promoted().at(day(364)), Step::Rest)]
#[case::the_old_authority_has_ended_by_our_clock(promoted_when_the_old_authority_has_ended().unchanged_for(299), Step::Rest)]
#[case::the_old_authority_has_ended(promoted_when_the_old_authority_has_ended().unchanged_for(300), Step::Trim)]
#[case::it_went(promoted_when_the_old_authority_has_ended().done(Step::Trim).told(), Step::Rest)]
#[case::our_clock_is_behind(Scene::first().at(day(-300)), Step::Rest)]
#[case::a_clock_was_ahead_when_it_was_made(promoted_by_a_clock_ahead_of_ours(300), Step::Rest)]
#[case::another_clock_may_be_years_ahead(promoted_by_a_clock_ahead_of_ours(3000).unchanged_for(299), Step::Rest)]
#[case::a_clock_was_years_ahead_when_it_was_made(promoted_by_a_clock_ahead_of_ours(3000).unchanged_for(300), Step::Begin)]
#[case::what_follows_is_due_as_well(Scene::promoted().at(day(250 + 244)), Step::Begin)]
fn is_usual_where(#[case] scene: Scene, #[case] expected: Step) {
    let decision = scene.decision();
    assert_eq!((decision.step, decision.is_mishap), (expected, false), "{}", decision.why);
}

#[rstest]
#[case::the_pair_has_expired(Scene::first().at(day(366)), Step::Begin, "tls.crt has expired")]
#[case::the_next_one_is_of_a_clock_behind(
    begun_by_a_clock_behind_ours(),
    Step::Withdraw,
    "tls.crt has expired"
)]
#[case::the_pair_is_lost_and_another_follows(lost_once_another_followed(), Step::Promote, "there is no pair")]
fn is_a_mishap_where(#[case] scene: Scene, #[case] expected: Step, #[case] why: &str) {
    let decision = scene.decision();
    assert_eq!((decision.step, decision.is_mishap), (expected, true), "{}", decision.why);
    assert!(decision.why.contains(why), "{}", decision.why);
}

/// Our clock may be the one that is wrong: API servers hear of the next authority before.
#[rstest]
#[case::not_at_once(59, Step::Rest)]
#[case::soon(60, Step::Promote)]
fn a_pair_follows_one_that_has_expired(#[case] seconds: u64, #[case] expected: Step) {
    let scene = Scene::first().at(day(366)).done(Step::Begin).told().unchanged_for(seconds);
    assert_eq!(scene.decision().step, expected);
}

/// Nobody accepts the one that has ended any more: whoever hears of the next is one who is answered again.
#[rstest]
#[case::a_configuration_never_carries_its_authority(begun_with_another_that_does_not_know().at(day(366)).awaited_for(300), Step::Promote)]
#[case::something_changes_again_and_again(Scene::begun().told().at(day(366)).unchanged_for(50).awaited_for(300), Step::Promote)]
#[case::that_configuration_may_be_next(begun_with_another_that_does_not_know().at(day(366)).awaited_for(299), Step::Rest)]
#[case::nobody_would_accept_it(Scene::begun().at(day(366)).awaited_for(10_000), Step::Rest)]
#[case::nobody_asks(begun_where_nothing_is_installed().at(day(366)).awaited_for(10_000), Step::Rest)]
#[case::the_one_before_is_good(begun_with_another_that_does_not_know().at(day(364)).awaited_for(10_000), Step::Rest)]
fn a_pair_that_has_ended_is_followed_although(#[case] scene: Scene, #[case] expected: Step) {
    let decision = scene.decision();
    assert_eq!((decision.step, decision.is_mishap), (expected, false), "{}", decision.why);
}

/// Two that fight for a configuration, or one that removes what it does not know, keep it from being shown for ever.
#[rstest]
#[case::not_while_api_servers_hear_of_it(Scene::begun().told(), false)]
#[case::not_within_a_day(Scene::begun().told().at(day(251)), false)]
#[case::after_a_day_in_which_something_changed_again_and_again(Scene::begun().told().at(day(252)).unchanged_for(299), true)]
#[case::after_a_day_in_which_its_authority_was_not_carried(begun_with_another_that_does_not_know().at(day(252)), true)]
#[case::not_once_it_can_be_shown(Scene::begun().told().at(day(252)).unchanged_for(300), false)]
fn a_pair_that_follows_is_overdue(#[case] scene: Scene, #[case] expected: bool) {
    assert_eq!(scene.decision().is_overdue, expected, "{}", scene.decision().why);
}

#[test]
fn authorities_are_told_that_vouch_for_what_is_shown() {
    let scene = Scene::first();
    assert_eq!(told(&scene.stored, NAMESPACE), scene.stored.bundle());
    let foreign =
        scene.with(|data| drop(data.insert("ca.crt".to_owned(), Scene::first().data()["ca.crt"].clone())));
    assert_eq!(told(&foreign.stored, NAMESPACE), Bundle::default());
}

#[test]
fn a_new_pair_is_shown_once_it_is_told_of_where_the_one_in_use_is_accepted_no_more() {
    let (first, lost) = (Scene::first(), Scene::empty().done(Step::Anew));
    let at_once = |scene: &Scene, in_use: &Scene| {
        let in_use = served(in_use).pair().expect("a pair");
        shown_once_told(&scene.stored, NAMESPACE, Some(&in_use))
    };
    let new = Some(served(&lost).pair().expect("a pair"));
    assert_eq!(at_once(&lost, &first), new);
    assert_eq!(shown_once_told(&lost.stored, NAMESPACE, None), new, "any is better than none");
    let damaged = first.clone().with(|data| drop(data.remove("tls.key"))).done(Step::Anew);
    assert_eq!(at_once(&damaged, &first), None, "API servers may have to hear first");
    let foreign = lost.with(|data| drop(data.insert("ca.crt".to_owned(), first.data()["ca.crt"].clone())));
    assert_eq!(at_once(&foreign, &Scene::first()), None, "nobody is told of that");
}

#[test]
fn an_expired_pair_stays_until_a_better_one_is_trusted() {
    let expired = Scene::first().at(day(366));
    let begun = expired.clone().done(Step::Begin);
    assert_eq!(served(&begun), served(&expired));
    let bundle = begun.stored.bundle();
    assert!(vouches(&bundle, served(&begun)) && vouches(&bundle, next(&begun)));
}

#[test]
fn each_pair_is_vouched_for_from_before_it_is_shown_until_long_after() {
    let (first, begun) = (Scene::first(), Scene::begun());
    assert!(!vouches(&first.stored.bundle(), next(&begun)));
    let (old, new) = (served(&begun).clone(), next(&begun).clone());
    let promoted = begun.clone().told().done(Step::Promote);
    assert_eq!((served(&promoted), &promoted.stored.next), (&new, &None));
    for scene in [&begun, &promoted] {
        let bundle = scene.stored.bundle();
        assert!(vouches(&bundle, &old) && vouches(&bundle, &new));
    }
    let trimmed = promoted.at(day(366)).done(Step::Trim);
    let bundle = trimmed.stored.bundle();
    assert!(!vouches(&bundle, &old) && vouches(&bundle, &new));
}

#[test]
fn the_newest_authority_is_the_first() {
    let begun = Scene::begun();
    let pem = begun.stored.bundle().to_pem();
    let end = pem.find("-----END").expect("an end") + "-----END CERTIFICATE-----\n".len();
    assert!(vouches(&Bundle::read(&pem.as_bytes()[..end]), next(&begun)));
    assert!(vouches(&Bundle::read(&pem.as_bytes()[end..]), served(&begun)));
}

#[test]
fn a_pair_that_is_withdrawn_takes_its_authority_along() {
    let begun = begun_by_a_clock_behind_ours();
    let gone = next(&begun).clone();
    let withdrawn = begun.clone().done(Step::Withdraw);
    assert_eq!((served(&withdrawn), &withdrawn.stored.next), (served(&begun), &None));
    let bundle = withdrawn.stored.bundle();
    assert!(vouches(&bundle, served(&withdrawn)) && !vouches(&bundle, &gone));
    assert_eq!(withdrawn.told().decision().step, Step::Rest);
}

/// By a clock that jumped it has ended, and it is all that others trust.
#[test]
fn the_authority_of_what_is_shown_stays_whatever_the_clock_says() {
    let ahead = Scene::first().at(day(10_000));
    for step in [Step::Begin, Step::Trim] {
        let scene = ahead.clone().done(step);
        assert!(vouches(&scene.stored.bundle(), served(&scene)), "{step:?}");
    }
}

/// By a clock that is ahead it has ended in the moment in which its pair is replaced, and others show that still.
#[test]
fn the_authority_of_what_was_shown_is_not_dropped_in_the_same_moment() {
    let first = Scene::first();
    let promoted = first.clone().at(day(500)).done(Step::Begin).told().done(Step::Promote);
    assert!(vouches(&promoted.stored.bundle(), served(&first)));
    assert!(!vouches(&promoted.done(Step::Trim).stored.bundle(), served(&first)));
}

/// Replicas still show what they had, for as long as it takes them to read.
#[test]
fn what_was_shown_is_still_trusted_once_a_damaged_one_is_replaced() {
    let sound = Scene::first();
    let damaged = sound.clone().with(|data| drop(data.remove("tls.key")));
    let replaced = damaged.done(Step::Anew);
    let bundle = replaced.stored.bundle();
    assert!(vouches(&bundle, served(&sound)) && vouches(&bundle, served(&replaced)));
}

/// Else a clock that jumps for a minute would end service: what is stored outlasts the jump.
#[test]
fn what_a_clock_made_that_was_ahead_is_accepted_by_one_that_is_right() {
    for days in [300, 3000, 300_000] {
        let scene = promoted_by_a_clock_ahead_of_ours(days);
        let shown_then = Certificates::default();
        shown_then.offer(Ok(served(&scene).pair().expect("a pair")), scene.now);
        assert_eq!(shown_then.state().flaw, None);
    }
}

#[test]
fn authorities_do_not_become_more_and_more() {
    let mut scene = Scene::first();
    for _ in 0..20 {
        scene = scene.with(|data| drop(data.remove("tls.key"))).done(Step::Anew);
    }
    assert_eq!(scene.stored.bundle().to_pem().matches("BEGIN").count(), 5);
}

#[test]
fn a_pair_is_held_back_that_api_servers_would_refuse_while_there_is_another() {
    let known = Scene::promoted();
    let unknown = Scene { carried: Scene::first().carried, ..known.clone() };
    let (pair, old) =
        (served(&known).pair().expect("a pair"), served(&Scene::first()).pair().expect("a pair"));
    assert_eq!(shown(&unknown.world(), Some(&old)), None);
    assert_eq!(shown(&unknown.world(), None).as_ref(), Some(&pair), "any is better than none");
    assert_eq!(shown(&known.told().world(), Some(&old)), Some(pair));
    assert_eq!(shown(&Scene::empty().world(), None), None);
}

#[test]
fn a_pair_that_some_would_refuse_is_held_back_until_the_other_has_ended() {
    let known = Scene::promoted().told();
    let (pair, old) =
        (served(&known).pair().expect("a pair"), served(&Scene::first()).pair().expect("a pair"));
    let mut half = known.clone();
    half.carried[0] = Scene::first().carried.swap_remove(0);
    assert_eq!(shown(&half.clone().at(day(364)).world(), Some(&old)), None);
    assert_eq!(shown(&half.at(day(366)).world(), Some(&old)), Some(pair));
    let none = Scene { carried: Scene::first().carried, ..known };
    assert_eq!(shown(&none.at(day(366)).world(), Some(&old)), None, "it would help nobody");
}
