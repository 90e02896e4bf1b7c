-- Reads the record and writes nothing.
-- Answers: kind, fingerprint, succeeded, contradiction, generation, confirmed,
--          ms for which it is held, parked, note or event.
if decided then
  return {'decided', decided.fp, decided.succeeded and '1' or '0', decided.contradiction, '0', '0', '0', '0', decided.event}
end
local r = undecided
if r then
  local held = 0
  if r.tok then
    held = math.max(0, r.till - now)
  end
  return {'undecided', r.fp, '0', '0', int(r.gen), int(r.conf), int(held), r.parked, r.note}
end
return {'none', '', '0', '0', '0', '0', '0', '0', ''}
