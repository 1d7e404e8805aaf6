# One key for everything that is stored, if there is one. Two things Google keeps under its own keys all the same: the
# topics that Eventarc makes for its triggers (names of objects and documents pass through them), and logs.

# why: whoever stores for us encrypts and decrypts with the key
resource "google_kms_crypto_key_iam_member" "agent" {
  for_each = var.kms_key == null ? {} : {
    artifactregistry = local.agents.artifactregistry
    firestore        = local.agents.firestore
    pubsub           = local.agents.pubsub
    run              = local.agents.run
    storage          = data.google_storage_project_service_account.agent.member
  }

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
  depends_on    = [google_project_service_identity.agent]
}
