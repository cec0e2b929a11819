-- private.rewrite()
-- What changes: a tool of this conversion, which the last file drops. It puts other words into a function of v2.
-- Why: what stays the same in a function is not said twice.
-- Locks: nothing.
-- Clients: nothing.

create function private.rewrite(target regprocedure, variadic words text[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    definition text := pg_get_functiondef(target);
begin
    for place in 1..cardinality(words) by 2 loop
        if position(words[place] in definition) = 0 then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = format('%s does not say %s', target, words[place]),
                hint = 'Apply the fixes first, all of them, and this conversion once.';
        end if;
        definition := replace(definition, words[place], words[place + 1]);
    end loop;
    execute definition;
end;
$$;
comment on function private.rewrite(regprocedure, text[]) is
'Replaces words of a function by others, in pairs; each must be there. A tool of the conversion to distributed tables.';
revoke all on function private.rewrite(regprocedure, text[]) from public;
