-- Extends (ARGV[2] > 0, in ms) or gives back (0) the sweeper's lock, if it is still ours.
-- ARGV: token, ms. Answers 1 if it was ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
