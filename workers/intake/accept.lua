-- Accept writes of one tenant: all checks and all appends in one round trip, atomically.
--
-- MINUTE_MS and AWAKE_MS are constants of workers/intake/redis_keys.py.
--
-- KEYS  intake, backlog, waiting, config, awake, inactive participants, idempotency (absent
--       without a key)
-- ARGV  tenant, version, writes per participant and minute (0: no cap), entries both streams
--       may hold, prefix of the participants' counters, idempotency seconds, fingerprint of the body (and
--       after a space the one that the release before would have written),
--       id of the first write, the caps that all these writes share ('reason cap counter …' in
--       the order in which they refuse; mostly ''), writes of one tenant that may wait before
--       more of them go to the backlog,
--       then participant, entry; participant, entry; …
--       and last the deadline, in microseconds of this server's clock
-- Returns {'late'} | {'stale', version} | {'full'}
--       | {'conflict', RATE} | {'known', id of the first write, RATE, refused writes as below}
--       | {'ok', kick, entries ahead, RATE, then of each refused write: index, reason, reset ms}
--         where RATE is limit, remaining, reset ms of the cap with the fewest writes left
--         (limit 0: no cap).
local FIRST, MINUTE = 11, $MINUTE_MS

local now = redis.call('TIME') -- first of all: its caller has been told that it failed
if now[1] * 1000000 + now[2] > tonumber(ARGV[#ARGV]) then return {'late'} end

local INTAKE, BACKLOG, WAITING, CONFIG, AWAKE, INACTIVE, KNOWN = unpack(KEYS)

local version = redis.call('HGET', CONFIG, ARGV[1]) or '0'
if version ~= ARGV[2] then return {'stale', version} end

local cap, prefix = tonumber(ARGV[3]), ARGV[5]

local function left_of(counter) -- after a clock that was set back a minute may seem longer
  local reset = redis.call('PTTL', counter)
  if reset > MINUTE then
    redis.call('PEXPIRE', counter, MINUTE)
    return MINUTE
  end
  return reset
end

local function standing(counter) -- writes counted, milliseconds until its minute ends
  local count = tonumber(redis.call('GET', counter) or 0)
  if count == 0 then return 0, MINUTE end
  return count, left_of(counter)
end

local shared = {}
for reason, most, counter in string.gmatch(ARGV[9], '(%l+) (%d+) (%S+)') do
  local count, reset = standing(counter)
  shared[#shared + 1] = {
    reason = reason, cap = tonumber(most), counter = counter, count = count, reset = reset,
  }
end

local left, left_reset -- of the participant with the fewest writes left
local function see(count, reset)
  if not left or cap - count < left then left, left_reset = cap - count, reset end
end

local function rate(result) -- append RATE; of equals the first to refuse
  local limit, remaining, reset = 0, 0, 0
  for _, one in ipairs(shared) do
    if limit == 0 or one.cap - one.count < remaining then
      limit, remaining, reset = one.cap, one.cap - one.count, one.reset
    end
  end
  if left and (limit == 0 or left < remaining) then
    limit, remaining, reset = cap, left, left_reset
  end
  result[#result + 1] = limit
  result[#result + 1] = math.max(remaining, 0)
  result[#result + 1] = reset
  return result
end

if KNOWN then
  local known = redis.call('GET', KNOWN)
  if known then
    if cap > 0 then see(standing(prefix .. ARGV[FIRST])) end
    -- id, fingerprint, and of each write of a batch that was refused: index, reason, reset ms
    local after
    for fingerprint in string.gmatch(ARGV[7], '%S+') do
      local ends = 38 + #fingerprint
      local separator = string.sub(known, ends, ends)
      if string.sub(known, 38, ends - 1) == fingerprint and (separator == '' or separator == ' ') then
        after = ends
      end
    end
    if not after then return rate({'conflict'}) end
    local result = rate({'known', string.sub(known, 1, 36)})
    for index, reason, reset in string.gmatch(string.sub(known, after), '(%d+) (%l+) (%d+)') do
      result[#result + 1] = tonumber(index)
      result[#result + 1] = reason
      result[#result + 1] = tonumber(reset)
    end
    return result
  end
end

local ahead, behind = redis.call('XLEN', INTAKE), redis.call('XLEN', BACKLOG)
if ahead + behind + (#ARGV - FIRST) / 2 > tonumber(ARGV[4]) then return {'full'} end

local waiting, fresh_max = tonumber(redis.call('HGET', WAITING, ARGV[1]) or 0), tonumber(ARGV[10])
if waiting >= fresh_max then ahead = ahead + behind end

local may_be_inactive = redis.call('EXISTS', INACTIVE) == 1

local function refusal(participant) -- reason and reset, or nil; then a token has been taken
  local counter = prefix .. participant
  if may_be_inactive and redis.call('SISMEMBER', INACTIVE, participant) == 1 then
    if cap > 0 then see(standing(counter)) end
    return 'inactive', 0
  end
  for _, one in ipairs(shared) do
    if one.count >= one.cap then return one.reason, one.reset end
  end
  if cap > 0 then
    local count, reset = redis.call('INCR', counter), MINUTE
    if count == 1 then
      redis.call('PEXPIRE', counter, MINUTE)
    else
      reset = left_of(counter)
    end
    see(count, reset)
    if count > cap then
      redis.call('DECR', counter)
      return 'participant', reset
    end
  end
  for _, one in ipairs(shared) do one.count = one.count + 1 end
end

local appended, refused = 0, {}
for i = FIRST, #ARGV - 1, 2 do
  local reason, reset = refusal(ARGV[i])
  if reason then
    refused[#refused + 1] = (i - FIRST) / 2
    refused[#refused + 1] = reason
    refused[#refused + 1] = reset
  else
    local stream = waiting + appended < fresh_max and INTAKE or BACKLOG
    redis.call('XADD', stream, '*', 'm', ARGV[i + 1], 't', ARGV[1])
    appended = appended + 1
  end
end

local kick = 0
if appended > 0 then
  redis.call('HINCRBY', WAITING, ARGV[1], appended)
  for _, one in ipairs(shared) do
    if redis.call('INCRBY', one.counter, appended) == appended then
      redis.call('PEXPIRE', one.counter, MINUTE)
    end
  end
  if KNOWN then
    local told = ARGV[8] .. ' ' .. string.match(ARGV[7], '%S+')
    if #refused > 0 then told = told .. ' ' .. table.concat(refused, ' ') end
    redis.call('SET', KNOWN, told, 'EX', ARGV[6])
  end
  if redis.call('SET', AWAKE, '1', 'NX', 'PX', $AWAKE_MS) then kick = 1 end
end

local result = rate({'ok', kick, ahead})
for _, each in ipairs(refused) do result[#result + 1] = each end
return result
