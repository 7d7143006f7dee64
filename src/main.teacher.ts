import { AppError } from './common/errors.js';
import { teacherSettingsFromEnvironment } from './config/teacher-settings.js';
import { startTeacherServer } from './teacher-server/start-teacher-server.js';

const tell = (message: string): void => void process.stderr.write(`${message}\n`);

try {
  const server = await startTeacherServer(teacherSettingsFromEnvironment(), { onNotice: tell });
  tell(`teacher server listens on ${server.url}`);
  process.send?.({ url: server.url, port: server.port });
  const stop = (): void => void server.close().then(() => process.connected && process.disconnect());
  process.once('SIGTERM', stop).once('SIGINT', stop).once('disconnect', stop);
} catch (error) {
  tell(error instanceof AppError ? `${error.code}: ${error.message}` : String(error));
  process.exit(1);
}
