# Receive facts with Ruby's standard library and Rack: put this into config.ru and start `rackup`
# with UNBROKEN_WEBHOOK_SECRET=whsec_…
require "json"
require "openssl"

KEY = ENV.fetch("UNBROKEN_WEBHOOK_SECRET").delete_prefix("whsec_").unpack1("m0")
TOLERANCE_SECONDS = 300 # an old request that somebody recorded is not accepted again

# `body` is the bytes as they came: parsed and written again they are not those that were signed.
def genuine?(env, body)
  id = env["HTTP_WEBHOOK_ID"].to_s               # webhook-id
  timestamp = env["HTTP_WEBHOOK_TIMESTAMP"].to_s # webhook-timestamp
  return false if id.empty? || !timestamp.match?(/\A\d+\z/)
  return false if (Time.now.to_i - timestamp.to_i).abs > TOLERANCE_SECONDS

  digest = OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{timestamp}.".b + body.b)
  expected = "v1,#{[digest].pack("m0")}"
  # webhook-signature: one for each secret while it is being rotated.
  env["HTTP_WEBHOOK_SIGNATURE"].to_s.split(" ").any? do |given|
    given.bytesize == expected.bytesize &&
      OpenSSL.fixed_length_secure_compare(given, expected)
  end
end

run lambda { |env|
  body = env["rack.input"]&.read.to_s
  next [401, {}, []] unless genuine?(env, body)

  fact = JSON.parse(body)
  # Insert fact["id"], the webhook-id, into a table where it is unique: it is the same on every
  # attempt. Only if it was not there yet, put the fact into a queue.
  warn "#{fact["type"]} #{fact["id"]}"
  [204, {}, []] # at once
}
