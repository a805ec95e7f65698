-- Accept writes of one tenant: all checks and all appends in one round trip, atomically.
--
-- KEYS  stream, config, awake, idempotency ('' keys are never passed: without one KEYS has 3)
-- ARGV  tenant, version, writes per participant and minute (0: no cap), entries the stream may
--       hold, rate key prefix, idempotency seconds, fingerprint of the body, tick id,
--       then participant, entry; participant, entry; …
-- Returns {'stale', version} | {'full'} | {'conflict'} | {'known', tick id}
--       | {'ok', kick, entries ahead, remaining, reset ms; remaining, reset ms; …}
--         where remaining is -1 for a write over the cap, which was not appended.
local version = redis.call('HGET', KEYS[2], ARGV[1]) or '0'
if version ~= ARGV[2] then return {'stale', version} end

if KEYS[4] then
  local known = redis.call('GET', KEYS[4])
  if known then
    if string.sub(known, 38) == ARGV[7] then return {'known', string.sub(known, 1, 36)} end
    return {'conflict'}
  end
end

local ahead = redis.call('XLEN', KEYS[1])
if ahead + (#ARGV - 8) / 2 > tonumber(ARGV[4]) then return {'full'} end

local cap = tonumber(ARGV[3])
local result, appended = {'ok', 0, ahead}, 0
for i = 9, #ARGV, 2 do
  local remaining, reset = 0, 0
  if cap > 0 then
    local key = ARGV[5] .. ARGV[i]
    local count = redis.call('INCR', key)
    if count == 1 then
      redis.call('PEXPIRE', key, 60000)
      reset = 60000
    else
      reset = redis.call('PTTL', key)
    end
    remaining = cap - count
  end
  if remaining < 0 then
    remaining = -1
  else
    redis.call('XADD', KEYS[1], '*', 'm', ARGV[i + 1])
    appended = appended + 1
  end
  result[#result + 1] = remaining
  result[#result + 1] = reset
end

if appended > 0 then
  if KEYS[4] then
    redis.call('SET', KEYS[4], ARGV[8] .. ' ' .. ARGV[7], 'EX', ARGV[6])
  end
  if redis.call('SET', KEYS[3], '1', 'NX', 'PX', 5000) then result[2] = 1 end
end
return result
