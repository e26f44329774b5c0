// SPDX-License-Identifier: GPL-2.0-only
//! What the way of a page to a device and back may cost, and whether it does. Pure.

use std::fmt;

use crate::figures::{Granted, Measured, Variant};

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// Net instructions a page.
    Instructions(f64),
    /// So much of another variant's net instructions a page at the same batch size.
    Of(Variant, f64),
}

/// A goal: this variant at this batch size must not cost more.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    what: &'static str,
    variant: Variant,
    granted: Granted,
    batch: u64,
    limit: Limit,
}

/// The goals of `docs/performance.md`. The public PV-IOMMU prototype takes 2,600 instructions for
/// a page of the domain's own.
const GOALS: [Goal; 8] = [
    goal("a grant in registers", Variant::OursReg, 1, 0.25),
    goal("grants, an array", Variant::Ours, 128, 0.10),
    goal("grants, a run", Variant::OursRun, 128, 0.10),
    goal("grants, a registered array", Variant::OursArgs, 128, 0.10),
    goal("grants, a registered run", Variant::OursArgsRun, 128, 0.10),
    Goal {
        what: "own frames in a row",
        variant: Variant::OwnArgsRun,
        granted: Granted::Small,
        batch: 128,
        limit: Limit::Instructions(1300.0),
    },
    Goal {
        what: "own frames apart",
        variant: Variant::OwnArgs,
        granted: Granted::Small,
        batch: 128,
        limit: Limit::Of(Variant::OwnArgsRun, 2.0),
    },
    Goal {
        what: "grants in a large page, a registered run",
        variant: Variant::OursArgsRun,
        granted: Granted::Large,
        batch: 128,
        limit: Limit::Of(Variant::XenC, 0.05),
    },
];

/// A goal in terms of stock Xen's cost.
const fn goal(what: &'static str, variant: Variant, batch: u64, most: f64) -> Goal {
    let limit = Limit::Of(Variant::XenC, most);
    Goal {
        what,
        variant,
        granted: Granted::Small,
        batch,
        limit,
    }
}

/// How a goal and what was measured go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    goal: Goal,
    /// In the unit of the limit; `None`: not measured.
    cost: Option<f64>,
}

impl Outcome {
    pub fn is_met(&self) -> bool {
        let most = match self.goal.limit {
            Limit::Instructions(most) | Limit::Of(_, most) => most,
        };
        self.cost.is_some_and(|cost| cost <= most)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal {
            what, batch, limit, ..
        } = self.goal;
        write!(f, "{what}, batch {batch}: ")?;
        let Some(cost) = self.cost else {
            return write!(f, "not measured");
        };
        let verdict = if self.is_met() { "goal met" } else { "NOT MET" };
        match limit {
            Limit::Instructions(most) => {
                write!(f, "{verdict}, {cost:.0} instructions of at most {most:.0}")
            }
            Limit::Of(other, most) => {
                write!(f, "{verdict}, {cost:.3} of {other}, at most {most:.2}")
            }
        }
    }
}

/// All goals, in their order.
pub fn outcomes(measured: &[Measured]) -> Vec<Outcome> {
    let net = |variant, goal: &Goal| {
        let mut rows = measured.iter();
        let row = rows.find(|row| {
            (row.variant, row.granted, row.batch) == (variant, goal.granted, goal.batch)
        })?;
        Some(row.cost.net_instructions_per_page)
    };
    let cost_of = |goal: &Goal| {
        let cost = net(goal.variant, goal)?;
        match goal.limit {
            Limit::Instructions(_) => Some(cost),
            Limit::Of(other, _) => Some(cost / net(other, goal)?),
        }
    };
    GOALS
        .into_iter()
        .map(|goal| Outcome {
            goal,
            cost: cost_of(&goal),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Cost;

    /// One row a pair of variant and net instructions a page, at the batch size of its goals.
    fn rows(of: &[(Variant, u64, f64)]) -> Vec<Measured> {
        let row = |&(variant, batch, net): &(Variant, u64, f64)| Measured {
            variant,
            granted: Granted::Small,
            batch,
            cost: Cost {
                instructions_per_page: net + 100.0,
                net_instructions_per_page: net,
                iterations: 1,
            },
            invalidations_per_batch: 1.0,
        };
        of.iter().map(row).collect()
    }

    fn met(of: &[(Variant, u64, f64)]) -> Vec<&'static str> {
        let outcomes = outcomes(&rows(of));
        let met = outcomes.iter().filter(|outcome| outcome.is_met());
        met.map(|outcome| outcome.goal.what).collect()
    }

    #[test]
    fn a_limit_may_be_reached_but_not_passed() {
        let stock = [(Variant::XenC, 1, 400.0), (Variant::XenC, 128, 1000.0)];
        let with = |row| [&stock[..], &[row]].concat();
        assert_eq!(
            met(&with((Variant::OursReg, 1, 100.0))),
            ["a grant in registers"]
        );
        assert!(met(&with((Variant::OursReg, 1, 100.1))).is_empty());
        assert_eq!(
            met(&with((Variant::Ours, 128, 100.0))),
            ["grants, an array"]
        );
        assert!(met(&with((Variant::Ours, 128, 100.1))).is_empty());
        assert!(met(&with((Variant::Ours, 16, 1.0))).is_empty());
    }

    #[test]
    fn own_frames_have_limits_of_their_own() {
        let row = (Variant::OwnArgsRun, 128, 1300.0);
        assert_eq!(met(&[row]), ["own frames in a row"]);
        let apart = (Variant::OwnArgs, 128, 2600.0);
        assert_eq!(
            met(&[row, apart]),
            ["own frames in a row", "own frames apart"]
        );
        assert!(met(&[(Variant::OwnArgsRun, 128, 1301.0)]).is_empty());
        assert!(met(&[apart]).is_empty());
    }

    #[test]
    fn large_pages_are_compared_with_large_pages() {
        let stock = rows(&[(Variant::XenC, 128, 100.0)]);
        let mut large = rows(&[
            (Variant::XenC, 128, 1000.0),
            (Variant::OursArgsRun, 128, 50.0),
        ]);
        large
            .iter_mut()
            .for_each(|row| row.granted = Granted::Large);
        let outcomes = outcomes(&[stock, large].concat());
        let met: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_met()).collect();
        assert_eq!(met.len(), 1);
        assert_eq!(met[0].goal.granted, Granted::Large);
    }

    #[test]
    fn what_was_not_measured_is_not_met_and_says_so() {
        let outcomes = outcomes(&[]);
        assert!(outcomes.iter().all(|outcome| !outcome.is_met()));
        assert_eq!(
            outcomes[0].to_string(),
            "a grant in registers, batch 1: not measured"
        );
    }

    #[test]
    fn figures_are_told_with_their_limits() {
        let rows = rows(&[
            (Variant::XenC, 1, 1000.0),
            (Variant::OursReg, 1, 260.0),
            (Variant::OwnArgsRun, 128, 1061.4),
        ]);
        let told: Vec<String> = outcomes(&rows).iter().map(Outcome::to_string).collect();
        assert_eq!(
            told[0],
            "a grant in registers, batch 1: NOT MET, 0.260 of xen-c, at most 0.25"
        );
        assert_eq!(
            told[5],
            "own frames in a row, batch 128: goal met, 1061 instructions of at most 1300"
        );
    }
}
