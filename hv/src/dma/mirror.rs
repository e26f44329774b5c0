// SPDX-License-Identifier: GPL-2.0-only
//! Contexts that are a 1:1 copy of their owner's memory.
//!
//! The host copies, and keeps the copy in step. Here is what makes that safe to ask
//! for: the quota; that making one takes as many steps as it needs, with nothing lost
//! between them; and that nobody sees a copy that is not whole.
//!
//! A copy in the making has a number, but is not found under it: no device can be
//! moved there, and nothing mapped. It is remembered with the vcpu whose call makes
//! it, and the next step of that call goes on with it. A guest cannot make its vcpu
//! forget a call that was preempted without some effort; if it does, the vcpu's next
//! call that makes a copy goes on with it, or takes it back first.

use hypercall_abi::context::XEN_GDMA_MIRROR_WEIGHT;

use super::{
    attach::{CreateError, DestroyError, destroy_space, new_space},
    space::{Making, SharedSpace, Space, Stage},
};
use crate::{
    addr::Dfn,
    host::{Content, Host, Progress},
    state::DomainState,
    sync::SpinLock,
};

/// How many contexts one counts for.
pub(super) fn weight(content: Content) -> u32 {
    match content {
        Content::Empty => 1,
        Content::Mirror => XEN_GDMA_MIRROR_WEIGHT,
    }
}

/// One step of making a copy with no device frame above `last`. `None`: something else
/// wants the CPU, call again.
///
/// Takes the lock of the caller's contexts; to take back one that failed, locks as
/// [`super::attach::destroy`].
pub(super) fn create<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    last: Dfn,
) -> Result<Option<SharedSpace<H>>, CreateError> {
    let vcpu = host.current_vcpu();
    let begun = state.dma.making_of(vcpu);
    let making = match begun {
        Some(making) if making.stage == Stage::Copying && making.last == last => making,
        Some(making) => {
            let stage = match making.stage {
                Stage::Copying => Stage::Abandoned,
                stage => stage,
            };
            if take_back(host, caller, state, &making, stage)? == Progress::Preempted {
                return Ok(None);
            }
            match stage {
                Stage::Failed(error) if making.last == last => return Err(error),
                _ => begin(host, caller, state, vcpu, last)?,
            }
        }
        None => begin(host, caller, state, vcpu, last)?,
    };
    go_on(host, caller, state, &making)
}

fn begin<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    vcpu: u32,
    last: Dfn,
) -> Result<Making<H>, CreateError> {
    let making = Making {
        space: new_space(host, caller, &state.dma, last, Content::Mirror)?,
        vcpu,
        last,
        stage: Stage::Copying,
    };
    state.dma.set_making(making.clone());
    Ok(making)
}

fn go_on<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    making: &Making<H>,
) -> Result<Option<SharedSpace<H>>, CreateError> {
    match copy(host, caller, &making.space) {
        Ok(Progress::Done) => {
            state.dma.publish(making.space.clone());
            Ok(Some(making.space.clone()))
        }
        Ok(Progress::Preempted) => Ok(None),
        Err(error) => match take_back(host, caller, state, making, Stage::Failed(error))? {
            Progress::Done => Err(error),
            Progress::Preempted => Ok(None),
        },
    }
}

fn copy<H: Host>(host: &H, caller: &H::Domain, space: &Space<H>) -> Result<Progress, CreateError> {
    let range = space.context.lock().range();
    let (Some(range), Some(tables)) = (range, space.own_tables()) else {
        return Err(CreateError::Unsupported);
    };
    // What `map` gives out begins where the copy ends.
    Ok(host.mirror_memory(caller, tables, range.first)?)
}

/// One step of taking back what is not wanted. An error leaves it where it is, for the
/// vcpu's next call to try again; it is this call's answer, so that one makes a new copy.
fn take_back<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    making: &Making<H>,
    stage: Stage,
) -> Result<Progress, CreateError> {
    let set_stage = |stage| {
        state.dma.set_making(Making {
            stage,
            ..making.clone()
        });
    };
    if making.stage != stage {
        set_stage(stage);
    }
    match destroy_space(host, caller, state, &making.space) {
        Ok(progress) => Ok(progress),
        Err(DestroyError::NoContext) => Ok(Progress::Done),
        // Access control is not asked about what was never there for the caller.
        Err(
            DestroyError::Default
            | DestroyError::Refused
            | DestroyError::HasDevices
            | DestroyError::Iommu,
        ) => {
            set_stage(Stage::Abandoned);
            Err(CreateError::Iommu)
        }
    }
}
