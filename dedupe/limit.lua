-- What every script on a limit begins with. It is put before each of the others.
--
-- A limit is a sorted set: a member is a reservation, its score the time it was
-- granted, in µs of Redis' clock. Removing the member undoes the reservation as
-- if it had never been made, so an undo is a plain ZREM and may come twice.
-- Everything is whole microseconds, which Lua's numbers and scores hold exactly.
-- Whatever is denied writes nothing.
local key = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- Numbers are written with int(): Lua would turn large ones into 1e+15.
local function int(n)
  return string.format('%.0f', n)
end

-- Keeps the key for at least so many µs; a millisecond more, because expiry
-- counts in whole ones.
local function keep(us)
  local ms = math.ceil(us / 1000) + 1
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, int(ms))
  end
end
