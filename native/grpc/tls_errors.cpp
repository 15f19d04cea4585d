#include "grpc/tls_errors.hpp"

#include "grpc/pem.hpp"

namespace persia::grpc {

namespace {

std::string other_end(const TlsDemands& demands) { return demands.is_server ? "the client" : "the server"; }

// What the other end has said before it ended the connection.
std::string alert_problem(int alert, const TlsDemands& demands) {
    const std::string refusal = other_end(demands) + " refuses the connection: ";
    const std::string ours = demands.is_server ? "this server's certificate" : "this client's certificate";
    switch (alert) {
        case SSL_AD_CERTIFICATE_REQUIRED:
            return refusal + "it asks for a certificate, and this client has shown none";
        case SSL_AD_CERTIFICATE_EXPIRED:
            return refusal + ours + " has expired";
        case SSL_AD_UNKNOWN_CA:
            return refusal + ours + " is not signed by a CA that it trusts";
        case SSL_AD_BAD_CERTIFICATE:
        case SSL_AD_UNSUPPORTED_CERTIFICATE:
        case SSL_AD_CERTIFICATE_UNKNOWN:
        case SSL_AD_CERTIFICATE_REVOKED:
            return refusal + "it does not accept " + ours;
        case SSL_AD_HANDSHAKE_FAILURE:
            return refusal + (demands.is_server ? "nothing that both speak was found"
                                                : "it may ask for a certificate, or nothing that both speak was found");
        case SSL_AD_PROTOCOL_VERSION:
            return refusal + "it does not speak TLS 1.2 or newer";
        case SSL_AD_NO_APPLICATION_PROTOCOL:
            return refusal + "it does not speak HTTP/2 (ALPN h2)";
        default:
            return refusal + SSL_alert_desc_string_long(alert);
    }
}

}  // namespace

std::string tls_problem(const TlsDemands& demands) {
    const unsigned long error = ERR_peek_last_error();
    const int reason = ERR_GET_REASON(error);
    const bool of_tls = ERR_GET_LIB(error) == ERR_LIB_SSL;
    const std::string words = openssl_error();
    if (!of_tls) return "the TLS connection has failed: " + words;
    if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
        return alert_problem(reason - SSL_AD_REASON_OFFSET, demands);
    }
    switch (reason) {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return "the client has shown no certificate, and needs one that is signed by " + demands.ca;
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_UNKNOWN_PROTOCOL:
        case SSL_R_VERSION_TOO_LOW:
            return other_end(demands) + " does not speak TLS 1.2 or newer";
        case SSL_R_NO_SHARED_CIPHER:
            return other_end(demands) + " offers no cipher that HTTP/2 allows";
        case SSL_R_NO_APPLICATION_PROTOCOL:
            return no_protocol_problem(demands);
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
        case SSL_R_BAD_RECORD_TYPE:
        case SSL_R_RECORD_LENGTH_MISMATCH:
            return other_end(demands) + " does not speak TLS, which is asked for here";
        default:
            return "the TLS connection has failed: " + words;
    }
}

std::string certificate_problem(X509_STORE_CTX* verification, const TlsDemands& demands) {
    const X509* certificate = X509_STORE_CTX_get0_cert(verification);
    const int result = X509_STORE_CTX_get_error(verification);
    const std::string name = name_of(certificate);
    const std::string subject = other_end(demands) + "'s certificate" + (name.empty() ? "" : " (`" + name + "`)");
    switch (result) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID: {
            const X509* at_fault = X509_STORE_CTX_get_current_cert(verification);
            return subject +
                   (at_fault == certificate ? " " : " is signed by " + signer_of(certificate) + ", whose certificate ") +
                   date_problem(at_fault);
        }
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
            return subject + " is not signed by " + demands.ca + ", but by " + signer_of(certificate);
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH: {
            const std::string hosts = hosts_of(certificate);
            return subject + " is for " + (hosts.empty() ? "no host" : hosts) + ", not for `" + demands.host + "`";
        }
        case X509_V_ERR_INVALID_PURPOSE:
            return subject + " is not one of a " + (demands.is_server ? "client" : "server") + ", by its extended key usage";
        default:
            return subject + " is refused: " + X509_verify_cert_error_string(result);
    }
}

std::string no_protocol_problem(const TlsDemands& demands) {
    return other_end(demands) + " does not speak " + (demands.http2 ? "HTTP/2 (ALPN h2)" : "HTTP/1.1 (ALPN http/1.1)");
}

}  // namespace persia::grpc
