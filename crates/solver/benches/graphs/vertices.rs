//! Time for each vertex.

use tokio::runtime::Runtime;

use crate::rounds::{Asked, Took, cache, each, median, round, rounds};
use crate::shapes::SHAPES;

pub(crate) fn table(runtime: &Runtime, sizes: &[usize], wanted: impl Fn(&str) -> bool) {
    println!(
        "µs for each vertex, or arrow, loading and building; loading and discarding of the cold one alone:\n"
    );
    println!(
        "| graph | vertices | arrows | cold | … CPU | … CPU per arrow | with a reader | cached, top asked | … CPU | … CPU per arrow | with a reader | cached, all asked | … CPU | load | discard |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, draw) in SHAPES.into_iter().filter(|(name, _)| wanted(name)) {
        for size in sizes.iter().copied() {
            let shape = draw(size, "vertex");
            let (mut cold, mut cold_read, mut top, mut top_read, mut all) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
            runtime.block_on(async {
                for _ in 0..rounds(size) {
                    let (known, _) = cache();
                    let (took, cached) = round(&known, &shape, Asked::Top, false).await;
                    assert_eq!(cached, 0);
                    cold.push(took);
                    cold_read.push(round(&cache().0, &shape, Asked::Top, true).await.0);
                    let (took, cached) = round(&known, &shape, Asked::Top, false).await;
                    assert_eq!(cached, 1);
                    top.push(took);
                    top_read.push(round(&known, &shape, Asked::Top, true).await.0);
                    let (took, cached) = round(&known, &shape, Asked::Everything, false).await;
                    assert_eq!(cached, size);
                    all.push(took);
                }
            });
            let of = |rounds: &[Took], part: fn(&Took) -> std::time::Duration| {
                median(rounds.iter().map(part).collect())
            };
            let whole: fn(&Took) -> std::time::Duration = |took| took.load + took.build;
            let cpu: fn(&Took) -> std::time::Duration = |took| took.cpu;
            let arrows = shape.arrows();
            let columns = [
                each(of(&cold, whole), size),
                each(of(&cold, cpu), size),
                each(of(&cold, cpu), arrows),
                each(of(&cold_read, whole), size),
                each(of(&top, whole), size),
                each(of(&top, cpu), size),
                each(of(&top, cpu), arrows),
                each(of(&top_read, whole), size),
                each(of(&all, whole), size),
                each(of(&all, cpu), size),
                each(of(&cold, |took| took.load), size),
                each(of(&cold, |took| took.discard), size),
            ];
            let columns: Vec<_> = columns.iter().map(|time| format!("{time:.2}")).collect();
            println!("| {name} | {size} | {arrows} | {} |", columns.join(" | "));
        }
    }
    println!();
}
