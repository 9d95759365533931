//! An object of which a part was read is overwritten.

use anyhow::Context;
use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{
    injector::Instance,
    plan::Mode,
    run::{Run, bucket, put},
    step::Step,
};

pub(crate) struct ObjectOverwritten;

#[async_trait]
impl Disruption for ObjectOverwritten {
    fn name(&self) -> String {
        "object overwritten while it is read".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let site = &run.site;
        let changing = site.plan.changing.as_ref().context("a plan without a changing object")?;
        put(run.slot(), &bucket(&site.plan), &changing.new, site.plan.files.len()).await;
        Ok(())
    }

    fn steps(&self, mode: Mode) -> &'static [Step] {
        mode.steps_of_reading()
    }

    fn changes_an_object(&self) -> bool {
        true
    }
}
