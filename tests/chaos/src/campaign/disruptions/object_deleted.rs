//! An object of which a part was read is deleted.

use anyhow::Context;
use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{
    injector::Instance,
    plan::Mode,
    run::{Run, bucket},
    step::Step,
};

pub(crate) struct ObjectDeleted;

#[async_trait]
impl Disruption for ObjectDeleted {
    fn name(&self) -> String {
        "object deleted while it is read".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let site = &run.site;
        let changing = site.plan.changing.as_ref().context("a plan without a changing object")?;
        run.slot().s3.delete(&bucket(&site.plan), &changing.new.key);
        Ok(())
    }

    fn steps(&self, mode: Mode) -> &'static [Step] {
        mode.steps_of_reading()
    }

    fn changes_an_object(&self) -> bool {
        true
    }
}
