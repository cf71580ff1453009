import { openLibrary } from './library.ts';

/* What the node binary exports of OpenSSL 3.5; `P` results are addresses, 0n for NULL. */
const P = 'pointer';

export const library = openLibrary({
  TLS_method: { return: P, arguments: [] },
  SSL_CTX_new: { return: P, arguments: [P] },
  SSL_CTX_free: { return: 'void', arguments: [P] },
  SSL_CTX_ctrl: { return: 'i64', arguments: [P, 'i32', 'i64', P] },
  SSL_CTX_set_options: { return: 'u64', arguments: [P, 'u64'] },
  SSL_CTX_set_num_tickets: { return: 'i32', arguments: [P, 'u64'] },
  SSL_CTX_set_ciphersuites: { return: 'i32', arguments: [P, P] },
  SSL_CTX_set_cipher_list: { return: 'i32', arguments: [P, P] },
  SSL_CTX_set_verify: { return: 'void', arguments: [P, 'i32', P] },
  SSL_CTX_set_verify_depth: { return: 'void', arguments: [P, 'i32'] },
  SSL_CTX_set_alpn_protos: { return: 'i32', arguments: [P, P, 'u32'] },
  SSL_CTX_set_alpn_select_cb: { return: 'void', arguments: [P, P, P] },
  SSL_CTX_set_keylog_callback: { return: 'void', arguments: [P, P] },
  SSL_CTX_set_default_read_buffer_len: { return: 'void', arguments: [P, 'u64'] },
  SSL_CTX_use_certificate: { return: 'i32', arguments: [P, P] },
  SSL_CTX_use_PrivateKey: { return: 'i32', arguments: [P, P] },
  SSL_CTX_check_private_key: { return: 'i32', arguments: [P] },
  SSL_CTX_get_cert_store: { return: P, arguments: [P] },
  X509_STORE_add_cert: { return: 'i32', arguments: [P, P] },
  X509_STORE_set_flags: { return: 'i32', arguments: [P, 'u64'] },
  SSL_new: { return: P, arguments: [P] },
  SSL_free: { return: 'void', arguments: [P] },
  SSL_set0_rbio: { return: 'void', arguments: [P, P] },
  SSL_set0_wbio: { return: 'void', arguments: [P, P] },
  SSL_set_read_ahead: { return: 'void', arguments: [P, 'i32'] },
  SSL_ctrl: { return: 'i64', arguments: [P, 'i32', 'i64', P] },
  SSL_get_servername: { return: P, arguments: [P, 'i32'] },
  SSL_set_connect_state: { return: 'void', arguments: [P] },
  SSL_set_accept_state: { return: 'void', arguments: [P] },
  SSL_do_handshake: { return: 'i32', arguments: [P] },
  SSL_read: { return: 'i32', arguments: [P, P, 'i32'] },
  SSL_write: { return: 'i32', arguments: [P, P, 'i32'] },
  SSL_shutdown: { return: 'i32', arguments: [P] },
  SSL_has_pending: { return: 'i32', arguments: [P] },
  SSL_rstate_string: { return: P, arguments: [P] },
  SSL_get_error: { return: 'i32', arguments: [P, 'i32'] },
  SSL_get0_alpn_selected: { return: 'void', arguments: [P, P, P] },
  SSL_get_verify_result: { return: 'i64', arguments: [P] },
  SSL_get1_peer_certificate: { return: P, arguments: [P] },
  SSL_get0_verified_chain: { return: P, arguments: [P] },
  SSL_get_current_cipher: { return: P, arguments: [P] },
  SSL_CIPHER_get_name: { return: P, arguments: [P] },
  SSL_get0_group_name: { return: P, arguments: [P] },
  SSL_get_version: { return: P, arguments: [P] },
  BIO_new: { return: P, arguments: [P] },
  BIO_s_mem: { return: P, arguments: [] },
  BIO_new_mem_buf: { return: P, arguments: [P, 'i32'] },
  BIO_new_socket: { return: P, arguments: ['i32', 'i32'] },
  BIO_up_ref: { return: 'i32', arguments: [P] },
  BIO_free: { return: 'i32', arguments: [P] },
  BIO_write: { return: 'i32', arguments: [P, P, 'i32'] },
  BIO_ctrl: { return: 'i64', arguments: [P, 'i32', 'i64', P] },
  BIO_number_read: { return: 'u64', arguments: [P] },
  BIO_new_bio_pair: { return: 'i32', arguments: [P, 'u64', P, 'u64'] },
  BIO_nread0: { return: 'i32', arguments: [P, P] },
  BIO_nread: { return: 'i32', arguments: [P, P, 'i32'] },
  PEM_read_bio_X509: { return: P, arguments: [P, P, P, P] },
  PEM_read_bio_PrivateKey: { return: P, arguments: [P, P, P, P] },
  X509_free: { return: 'void', arguments: [P] },
  EVP_PKEY_free: { return: 'void', arguments: [P] },
  i2d_X509: { return: 'i32', arguments: [P, P] },
  X509_get_ext_d2i: { return: P, arguments: [P, 'i32', P, P] },
  X509_get_key_usage: { return: 'u32', arguments: [P] },
  X509_get_extended_key_usage: { return: 'u32', arguments: [P] },
  X509_get_extension_flags: { return: 'u32', arguments: [P] },
  X509_get0_notBefore: { return: P, arguments: [P] },
  X509_get0_notAfter: { return: P, arguments: [P] },
  ASN1_TIME_diff: { return: 'i32', arguments: [P, P, P, P] },
  X509_get0_pubkey: { return: P, arguments: [P] },
  EVP_PKEY_get_base_id: { return: 'i32', arguments: [P] },
  EVP_PKEY_get_bits: { return: 'i32', arguments: [P] },
  EVP_PKEY_get_bn_param: { return: 'i32', arguments: [P, P, P] },
  BN_get_word: { return: 'u64', arguments: [P] },
  BN_free: { return: 'void', arguments: [P] },
  X509_verify_cert_error_string: { return: P, arguments: ['i64'] },
  GENERAL_NAMES_free: { return: 'void', arguments: [P] },
  GENERAL_NAME_get0_value: { return: P, arguments: [P, P] },
  ASN1_STRING_get0_data: { return: P, arguments: [P] },
  ASN1_STRING_length: { return: 'i32', arguments: [P] },
  OPENSSL_sk_num: { return: 'i32', arguments: [P] },
  OPENSSL_sk_value: { return: P, arguments: [P, 'i32'] },
  ERR_clear_error: { return: 'void', arguments: [] },
  ERR_get_error: { return: 'u64', arguments: [] },
  ERR_reason_error_string: { return: P, arguments: ['u64'] },
  d2i_X509: { return: P, arguments: [P, P, 'i64'] },
});

/** The calls, as they are; only the files of this folder use them, and they look each one up here when they call it. */
export const openssl = library.functions;

type Calls = typeof openssl;

/**
 * Puts another function in the place of a call until it is disposed of: so a test sees what follows when OpenSSL has no
 * memory, or refuses. Costs those who call nothing.
 */
export function replaceCall<Name extends keyof Calls>(
  name: Name,
  replacement: (...args: Parameters<Calls[Name]>) => ReturnType<Calls[Name]>,
): Disposable {
  const original = Reflect.get(openssl, name);
  Reflect.set(openssl, name, replacement);
  return {
    [Symbol.dispose]() {
      Reflect.set(openssl, name, original);
    },
  };
}
