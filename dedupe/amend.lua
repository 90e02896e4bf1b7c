-- Replaces the note of an undecided record that nobody holds, if it is still the
-- one that the caller has read.
-- ARGV: note as read, new note.
-- Answers: 1 if it was replaced, generation, confirmed, parked.
local r = undecided
if not r or (r.tok and r.till > now) or r.note ~= ARGV[1] then
  return {'0', '0', '0', '0'}
end
redis.call('HSET', key, 'note', ARGV[2])
return {'1', int(r.gen), int(r.conf), r.parked}
