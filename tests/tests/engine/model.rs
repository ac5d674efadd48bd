//! Random commands against the reference model (promises P2-P6, and P1 and P9 at every crash).
//!
//! Two threads, one with a fixed seed and one with a random one, each print it. `HIGHWATER_MODEL_CASES` asks for more
//! than the 2,000 cases of every day; `HIGHWATER_MODEL_SEED` repeats a random run.

use highwater_tests::plan::{self, Case};
use highwater_tests::world::{Check, Coverage, World, user_name};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::time::Instant;

/// Cases of an ordinary run.
const CASES: u32 = 2_000;
/// Commands of a case, besides those that set it up.
const STEPS: std::ops::Range<usize> = 40..70;
/// The seed that is the same in every run.
const FIXED_SEED: u64 = 0x5eed;

fn run(case: &Case, coverage: &mut Coverage) -> Check {
    let mut world = World::new(case)?;
    for (number, step) in case.steps.iter().enumerate() {
        world.step(step)?;
        world.check_user(&user_name(number % plan::KNOWN_USERS))?;
    }
    world.check_everything()?;
    // What follows is in every case; what is counted is what the random commands reached.
    coverage.absorb(&world.coverage);
    world.persist()?;
    world.reopen()?;
    world.replay_whole_log()?;
    Ok(())
}

/// Runs cases; the first that fails is shrunk.
fn run_cases(seed: u64, cases: u32, total: &Mutex<Coverage>) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&plan::cases(STEPS), |case| {
        let mut coverage = Coverage::default();
        run(&case, &mut coverage)?;
        total.lock().expect("no thread panics while it counts").merge(&coverage);
        Ok(())
    });
    outcome.map_err(|error| match error {
        TestError::Fail(reason, case) => {
            let steps: Vec<String> = case.steps.iter().map(|step| format!("    {step:?}")).collect();
            format!(
                "seed {seed}: {reason}\nsmallest case (create_named_users {}, is_head_small {}, may_lose {}):\n{}",
                case.create_named_users,
                case.is_head_small,
                case.may_lose,
                steps.join("\n")
            )
        }
        TestError::Abort(reason) => format!("seed {seed}: {reason}"),
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn random_commands_against_the_model() {
    let cases = number("HIGHWATER_MODEL_CASES").map_or(CASES, |cases| cases as u32);
    let random = number("HIGHWATER_MODEL_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("model: {cases} cases, half of them with seed {FIXED_SEED}, half with seed {random}");
    let begun = Instant::now();
    let total = Mutex::new(Coverage::default());
    let failures: Vec<String> = std::thread::scope(|scope| {
        let share = cases.div_ceil(2);
        let threads = [FIXED_SEED, random].map(|seed| {
            let total = &total;
            scope.spawn(move || run_cases(seed, share, total))
        });
        threads.into_iter().filter_map(|thread| thread.join().expect("it does not panic").err()).collect()
    });
    let total = total.into_inner().expect("no thread panicked while it counted");
    println!("model: {:.0} s\n{total}", begun.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let seen = total.of("cases");
    assert!(seen >= u64::from(cases), "{seen} cases of {cases}");
    for what in ["cases with a reopen", "cases with a mode switch"] {
        assert!(total.of(what) * 2 >= seen, "{what}: {} of {seen}", total.of(what));
    }
    for what in [
        "crashes",
        "crashes that lost records",
        "resets",
        "gaps",
        "reads in memory",
        "reads that need the disk",
        "repeats",
        "conflict",
        "replaced",
        "out_of_order",
        "recalls",
        "edits",
    ] {
        assert!(total.of(what) > 0, "no {what} in {seen} cases");
    }
}
