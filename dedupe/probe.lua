-- Writes what a claim writes, the same way, into a record of nobody's.
-- ARGV: token, ms until it is forgotten.
redis.call('HSET', KEYS[1], 'tok', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'1'}
