-- A role that exists and its secret, from now on changed together. As a superuser:
--     echo '{"host": "127.0.0.1", "user": "reporting", "password": "none yet"}' | keyturn set database/reporting
CREATE EXTENSION IF NOT EXISTS keyturn;

SELECT rotate_secret('database/reporting');

-- Is every role in step with its secret?
SELECT * FROM keyturn.rotations;

-- Somebody else may rotate this, if the policy allows it to postgresql:role:deploy too:
--     GRANT EXECUTE ON FUNCTION rotate_secret(text) TO deploy;
