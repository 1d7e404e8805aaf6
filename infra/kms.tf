# One optional key for everything that is stored. Google still encrypts two things with its own keys: the topic that
# Eventarc creates for its trigger (names of documents pass through it), and logs.

# why: the services that store our data encrypt and decrypt it with the key
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
