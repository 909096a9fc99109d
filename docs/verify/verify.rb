require "json"
require "openssl"

# The event in a request of Licenzy's; raises for anything else.
# body is request.raw_post, headers have names in lower case.
def verify(body, headers, secret)
  id = headers["webhook-id"]
  sent_at = headers["webhook-timestamp"]
  raise ArgumentError, "too old or too new" if (Time.now.to_i - sent_at.to_i).abs > 300

  key = secret.delete_prefix("whsec_").unpack1("m")
  signed = "#{id}.#{sent_at}.".b + body.b
  expected = "v1," + [OpenSSL::HMAC.digest("SHA256", key, signed)].pack("m0")
  headers["webhook-signature"].to_s.split(" ").each do |signature|
    next unless signature.bytesize == expected.bytesize
    return JSON.parse(body) if OpenSSL.fixed_length_secure_compare(expected, signature)
  end
  raise ArgumentError, "no good signature"
end
