//! Somebody else with the chip, to attack it and to fill it.

use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributes;
use tss_esapi::handles::{AuthHandle, NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, NvPublicBuilder};

use crate::common::Swtpm;

/// Somebody else who can open the chip and knows the owner's empty authorisation, with another implementation than ours.
pub struct Rival {
    tcti: String,
    context: Context,
}

impl Rival {
    pub fn new(swtpm: &Swtpm) -> Self {
        let mut context = Context::new(swtpm.tcti().parse().unwrap()).unwrap();
        context.set_sessions((Some(AuthSession::Password), None, None));
        Self { tcti: swtpm.tcti(), context }
    }

    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Frees his sessions.
    pub fn flush_sessions(&mut self) {
        // Closing the context has its sessions flushed.
        let configuration = self.tcti.parse().unwrap();
        self.context = Context::new(configuration).unwrap();
    }

    /// Guesses the value of an index of his, which does count, until the chip is locked out.
    pub fn lock_out(&mut self) {
        // TPMA_NV: owner and value may write, owner and value may read.
        let attributes = NvIndexAttributes::try_from(1 << 1 | 1 << 2 | 1 << 17 | 1 << 18).unwrap();
        let public = NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(0x0180_7777).unwrap())
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes)
            .with_data_area_size(1)
            .build()
            .unwrap();
        let auth = Auth::try_from(b"right".to_vec()).unwrap();
        let index = self.context.nv_define_space(Provision::Owner, Some(auth), public).unwrap();
        for _ in 0..40 {
            self.context.tr_set_auth(index.into(), b"wrong".to_vec().try_into().unwrap()).unwrap();
            let written =
                self.context.nv_write(NvAuth::NvIndex(index), index, vec![1].try_into().unwrap(), 0);
            written.unwrap_err();
        }
    }

    /// Gives the owner hierarchy an authorisation value.
    pub fn take_the_owner(&mut self) {
        let auth = Auth::try_from(b"owner".to_vec()).unwrap();
        self.context.hierarchy_change_auth(AuthHandle::Owner, auth).unwrap();
    }

    /// Defines an index whose name is made with SHA-384.
    pub fn define_with_another_hash(&mut self, index: u32) {
        let attributes = NvIndexAttributes::try_from(1 << 1 | 1 << 17).unwrap();
        let public = NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(index).unwrap())
            .with_index_name_algorithm(HashingAlgorithm::Sha384)
            .with_index_attributes(attributes)
            .with_data_area_size(4)
            .build()
            .unwrap();
        self.context.nv_define_space(Provision::Owner, None, public).unwrap();
    }

    fn index(&mut self, index: u32) -> NvIndexHandle {
        let handle = TpmHandle::NvIndex(NvIndexTpmHandle::new(index).unwrap());
        let find = |context: &mut Context| context.tr_from_tpm_public(handle);
        self.context.execute_without_session(find).unwrap().into()
    }

    /// Writes with an empty authorisation value.
    pub fn write(&mut self, index: u32, data: &[u8]) -> tss_esapi::Result<()> {
        let handle = self.index(index);
        self.context.nv_write(NvAuth::NvIndex(handle), handle, data.to_vec().try_into().unwrap(), 0)
    }

    /// Increments with an empty authorisation value.
    pub fn increment(&mut self, index: u32) -> tss_esapi::Result<()> {
        let handle = self.index(index);
        self.context.nv_increment(NvAuth::NvIndex(handle), handle)
    }

    /// Removes an index and defines one with the same public area, whose authorisation value is empty.
    pub fn define_the_same_again(&mut self, index: u32) {
        let handle = self.index(index);
        let read = |context: &mut Context| context.nv_read_public(handle);
        let (public, _) = self.context.execute_without_session(read).unwrap();
        self.context.nv_undefine_space(Provision::Owner, handle).unwrap();
        let attributes =
            NvIndexAttributes::try_from(u32::try_from(public.attributes()).unwrap() & !(1 << 29)).unwrap();
        let public = NvPublicBuilder::new()
            .with_nv_index(public.nv_index())
            .with_index_name_algorithm(public.name_algorithm())
            .with_index_attributes(attributes)
            .with_index_auth_policy(public.authorization_policy().clone())
            .with_data_area_size(public.data_size())
            .build()
            .unwrap();
        self.context.nv_define_space(Provision::Owner, None, public).unwrap();
    }
}
