/* The claim chain of src/election/claim-chain.ts, for three hosts, in discrete time. README.md says what is modelled and
   what isn't; check runs it.

   Numbers. The chain grows without bound, so numbers are kept relative to the highest claim: a host either knows the
   highest (and would claim the next number, which is free) or is behind (and would claim one that is taken, or was
   removed long ago and is free again). So the states are few, and the chain has no end.

   Time. `tick` is a moment of true time. Hosts 0 and 2 have a clock that counts ticks; host 1's is faster by one in
   three. A lease is three of its owner's ticks, the margin is one more. A host that doesn't move while ticks pass is a
   paused one: nothing but the deadline, which is in the tick, makes it do anything.

   Protections are taken away with -D: NO_DEADLINE, NO_MARGIN, COUNT_FROM_AFTER, REUSE_FILE, NO_LINK_CHECK, NO_YIELD.
   With -DPROGRESS faults stop at some moment (`calm`), hosts are prompt from then on (time waits for whoever has something
   to do), and somebody must lead, again and again; NO_RESTART takes that away. */

#define hosts 3
#define lease 3
#ifdef NO_MARGIN
#define margin 0
#else
#define margin 1
#endif
#define waits (lease + margin)
/* Which clock is fast. It matters to safety alone, so where progress is asked for all are alike: fewer states. */
#ifdef PROGRESS
#define fast hosts
#else
#define fast 1
#endif
#define renews 1

mtype = { dead, following, claiming, confirming, leading, renewing, resigning };
/* A link on its way: sent, or done by the file server and the reply still to come. One that finds its number taken changes
   nothing, so that and its reply are one step. */
mtype = { nothing, sent, done };

typedef HostState {
  mtype phase;
  mtype link;
  bool behind;      /* there is a higher claim than the newest that it knows */
  byte seen;        /* own ticks since it saw the newest claim that it knows; counted up to `waits` */
  byte age;         /* own ticks since the attempt began that made the claim it holds, or strives for */
  byte renewal;     /* own ticks since the renewal in flight began */
  byte late;        /* a link of which it has heard an error, or didn't live to hear, may still be done: 0, 1, 2 (lease 0) */
#ifdef REUSE_FILE
  bool keeps;       /* it has a private file from an attempt of which it doesn't know what became of it */
  bool mine;        /* the highest claim is a link to that file, and it doesn't know */
#endif
};

HostState host[hosts];
/* The highest claim is a resignation; at first there is none, which is the same. */
bool over = 1;
byte phaseOfFast = 0;
bool calm = 0;
/* Of loops; the same after each. */
byte h;
#ifdef REUSE_FILE
bool own = 0;
#endif

/* It leads, and may have looked at its lease, found it valid, and be about to submit, however late: until it is dead. */
#define holds(i) (host[i].phase == leading || host[i].phase == renewing)
#define armed(i) (host[i].phase != dead && host[i].phase != following)
#define older(value, i, most) ((value + 1 + ((i == fast && phaseOfFast == 0) -> 1 : 0) > most) -> most : value + 1 + ((i == fast && phaseOfFast == 0) -> 1 : 0))

/* The number after the highest is taken, by host i: everybody else is behind, and no late link can have it any more. */
inline grow(i) {
  for (h : 0 .. hosts - 1) {
    host[h].behind = 1;
    host[h].late = 0;
#ifdef REUSE_FILE
    host[h].mine = 0;
#endif
  }
}

/* Host i's private file may yet be linked after it has stopped to wait for that. */
inline leave(i) {
  if
  :: host[i].link == sent && !host[i].behind -> host[i].late = ((host[i].phase == resigning) -> 2 : 1)
  :: else
  fi;
#ifdef REUSE_FILE
  if
  :: host[i].phase == claiming -> host[i].keeps = 1; host[i].mine = (host[i].link == done)
  :: else
  fi;
#endif
  if
  :: host[i].link == done && !holds(i) -> host[i].behind = 1
  :: else
  fi;
  host[i].link = nothing
}

inline follow(i) {
  leave(i);
  /* Of an attempt that failed it has learned nothing: the newest claim that it knows is as old as before. */
  host[i].seen = ((host[i].behind || host[i].phase != claiming) -> 0 : host[i].seen);
  host[i].phase = following;
  host[i].age = 0;
  host[i].renewal = 0
}

/* A process that dies is started again, and knows nothing then. */
inline die(i) {
  leave(i);
#ifdef NO_RESTART
  host[i].phase = dead;
#else
  host[i].phase = following;
#endif
  host[i].behind = 1;
  host[i].seen = 0;
  host[i].age = 0;
  host[i].renewal = 0;
#ifdef REUSE_FILE
  host[i].keeps = 0;
  host[i].mine = 0;
#endif
  skip
}

inline won(i) {
  host[i].link = nothing;
  host[i].seen = 0;
#ifdef COUNT_FROM_AFTER
  host[i].age = 0
#else
  skip
#endif
}

inline renewed(i) {
  host[i].link = nothing;
  host[i].phase = leading;
#ifdef COUNT_FROM_AFTER
  host[i].age = 0;
#else
  host[i].age = host[i].renewal;
#endif
  host[i].renewal = 0
}

inline lead(i) {
  /* Its number, which names the term, is the highest there is: no two terms have one name, and names rise. */
  assert(!host[i].behind);
  for (h : 0 .. hosts - 1) {
    assert(h == i || !holds(h))
  }
  host[i].phase = leading
}

proctype Host(byte i) {
end:
  do
  /* It lists, and sees the highest claim. A stale listing shows nothing new: as if it had not listed. */
  :: d_step { host[i].phase == following && host[i].behind ->
      host[i].behind = 0;
      host[i].seen = 0
    }

  /* It has known the newest claim for the lease and the margin, or it is a resignation. One that is behind counts for a
     claim of which nothing is kept here, so at any time. It claims the next number, deadline first. */
  :: d_step { host[i].phase == following &&
      ((!host[i].behind && (over || host[i].seen >= waits)) || (host[i].behind && !calm)) ->
      host[i].phase = claiming;
      host[i].link = sent;
      host[i].age = 0
    }

  /* The file server makes the link. */
  :: d_step { host[i].link == sent && !host[i].behind ->
      over = (host[i].phase == resigning);
      grow(i);
      host[i].behind = 0;
      host[i].link = done
    }
#ifdef REUSE_FILE
  :: d_step { host[i].link == sent && host[i].behind && host[i].mine && host[i].phase == claiming ->
      host[i].link = done;
      host[i].behind = 0;
      host[i].mine = 0
    }
#endif

  /* The reply to an attempt to take over. */
  :: d_step { host[i].phase == claiming && host[i].link == done -> won(i); host[i].phase = confirming }
  /* Its number was claimed and removed long ago. */
  :: d_step { host[i].phase == claiming && host[i].link == sent && host[i].behind && !calm -> won(i); host[i].phase = confirming }
  :: d_step { host[i].phase == claiming && host[i].link == sent && host[i].behind -> follow(i) }
  /* An error, whatever happened. */
  :: d_step { host[i].phase == claiming && !calm -> follow(i) }
#ifdef NO_LINK_CHECK
  /* Success is reported for another's link (a request that was sent again), and believed. */
  :: d_step { host[i].phase == claiming && host[i].link == sent && host[i].behind ->
      won(i);
      host[i].phase = confirming;
      host[i].behind = 0
    }
#endif

  /* It lists once more. A listing that lacks its own claim is no proof, as if it had not listed. */
  :: d_step { host[i].phase == confirming && host[i].age >= lease -> die(i) }
#ifdef NO_YIELD
  :: d_step { host[i].phase == confirming && host[i].age < lease -> lead(i) }
#else
  :: d_step { host[i].phase == confirming && host[i].behind -> follow(i) }
  :: d_step { host[i].phase == confirming && !host[i].behind && host[i].age < lease -> lead(i) }
#endif

  /* It renews by claiming the next number with the same file. The deadline stays where it is. */
  :: d_step { host[i].phase == leading && host[i].age >= renews && host[i].age < lease ->
      host[i].phase = renewing;
      host[i].link = sent;
      host[i].renewal = 0
    }
  :: d_step { host[i].phase == leading && host[i].age >= lease -> die(i) }
  :: d_step { host[i].phase == renewing && host[i].link == done -> renewed(i) }
  /* Lost, or an error, whatever happened: it ends. */
  :: d_step { host[i].phase == renewing && host[i].link == sent && host[i].behind -> die(i) }
  :: d_step { host[i].phase == renewing && !calm -> die(i) }
#ifdef NO_LINK_CHECK
  :: d_step { host[i].phase == renewing && host[i].link == sent && host[i].behind -> renewed(i); host[i].behind = 0 }
#endif

  /* It has nothing more in flight, leads no more, and says so in a claim with lease 0. */
  :: d_step { host[i].phase == leading && !calm ->
      host[i].phase = resigning;
      host[i].link = sent
    }
  :: d_step { host[i].phase == resigning && (host[i].link == done || host[i].behind || !calm) -> follow(i) }

  /* A link that nobody waits for any more is done. */
  :: d_step { host[i].late != 0 ->
      over = (host[i].late == 2);
#ifdef REUSE_FILE
      own = (host[i].late == 1 && host[i].keeps && host[i].phase == following);
#endif
      grow(i);
#ifdef REUSE_FILE
      host[i].mine = own;
      own = 0;
#endif
      skip
    }

  /* It dies, at any instruction. */
  :: d_step { host[i].phase != following && host[i].phase != dead && !calm -> die(i) }
  :: d_step { host[i].phase == following && !calm -> die(i) }
  od
}

#ifdef PROGRESS
/* With nothing to do now but to wait. */
#ifdef NO_RESTART
#define idle(i) (host[i].phase == dead || idleAlive(i))
#else
#define idle(i) idleAlive(i)
#endif
#define idleAlive(i) \
  ((host[i].phase == following && !host[i].behind && !over && host[i].seen < waits) || \
   (host[i].phase == leading && host[i].age < renews))
#endif

proctype Time() {
  do
  :: d_step {
#ifdef PROGRESS
      (!calm || (idle(0) && idle(1) && idle(2))) ->
#else
      true ->
#endif
      for (h : 0 .. hosts - 1) {
        if
        :: host[h].phase == following -> host[h].seen = older(host[h].seen, h, waits)
        :: armed(h) ->
          host[h].age = older(host[h].age, h, lease);
          if
          :: host[h].phase == renewing -> host[h].renewal = older(host[h].renewal, h, lease)
          :: else
          fi
        :: else
        fi
      }
#ifndef NO_DEADLINE
      /* The kernel kills at the deadline, whatever the process is doing. */
      for (h : 0 .. hosts - 1) {
        if
        :: armed(h) && host[h].age >= lease -> die(h)
        :: else
        fi
      }
#endif
#ifdef PROGRESS
      skip
#else
      phaseOfFast = (phaseOfFast + 1) % 3
#endif
    }
  od
}

#ifdef PROGRESS
/* Until faults stop anything may happen, and nothing need to. */
proctype Faults() {
end:
  calm = 1
}

/* From then on somebody leads again and again. */
ltl progress { [] (calm -> <> (holds(0) || holds(1) || holds(2))) }
#endif

init {
  atomic {
    for (h : 0 .. hosts - 1) {
      host[h].phase = following;
      host[h].link = nothing
    }
    run Host(0);
    run Host(1);
    run Host(2);
    run Time();
#ifdef PROGRESS
    run Faults()
#endif
  }
}
