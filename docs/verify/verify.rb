require "base64"
require "json"
require "openssl"

# The event in a request of Licenzy's; raises for anything else.
# body is request.raw_post, headers have names in lower case.
def verify(body, headers, secret)
  id = headers.fetch("webhook-id")
  sent_at = headers.fetch("webhook-timestamp")
  raise ArgumentError, "too old or too new" if (Time.now.to_i - Integer(sent_at)).abs > 300

  key = Base64.decode64(secret.delete_prefix("whsec_"))
  signed = "#{id}.#{sent_at}.".b + body.b
  expected = "v1," + Base64.strict_encode64(OpenSSL::HMAC.digest("SHA256", key, signed))
  headers.fetch("webhook-signature").split(" ").each do |signature|
    next unless signature.bytesize == expected.bytesize
    return JSON.parse(body) if OpenSSL.fixed_length_secure_compare(expected, signature)
  end
  raise ArgumentError, "no good signature"
end
