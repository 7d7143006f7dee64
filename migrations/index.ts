import { Auth1795000000001 } from './1795000000001-auth.js';
import { Inputs1795000000002 } from './1795000000002-inputs.js';
import { Runs1795000000003 } from './1795000000003-runs.js';
import { Metrics1795000000004 } from './1795000000004-metrics.js';
import { Roles1795000000005 } from './1795000000005-roles.js';
import { PauseCause1795000000006 } from './1795000000006-pause-cause.js';
import { TeacherEndpoints1795000000007 } from './1795000000007-teacher-endpoints.js';
import { StageAttempts1795000000008 } from './1795000000008-stage-attempts.js';
import { NodeDrain1795000000010 } from './1795000000010-node-drain.js';

/** Every migration, oldest first. One that has landed is never changed; a new one is added. */
export const migrations = [
  Auth1795000000001,
  Inputs1795000000002,
  Runs1795000000003,
  Metrics1795000000004,
  Roles1795000000005,
  PauseCause1795000000006,
  TeacherEndpoints1795000000007,
  StageAttempts1795000000008,
  NodeDrain1795000000010,
];
